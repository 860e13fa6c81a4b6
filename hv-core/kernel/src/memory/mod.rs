// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machine memory: the frame database ([`frames`]), the pool that guests'
//! memory comes from ([`pool`]), what a domain has of it ([`domain`]), the
//! control domain's window on others' memory ([`foreign`]), and the order to
//! all CPUs to forget translations ([`flush`]).

pub mod domain;
pub mod flush;
pub mod foreign;
pub mod frames;
pub mod pool;

pub use domain::DomainMemory;
pub use pool::TablesOf;
