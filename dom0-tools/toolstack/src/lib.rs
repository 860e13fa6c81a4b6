// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the daemon and `hvctl` share: the domain file, the builder, and the
//! words of the API.
//!
//! - [`file`]: TOML text to a [`spec::DomainSpec`], with errors that point into
//!   the text.
//! - [`builder`]: a spec to a domain that waits to be started; undone on any
//!   failure. [`bzimage`], [`layout`] and [`boot`] are its parts.
//! - [`domain`]: what a domain's figures mean, and how to destroy one.
//! - [`api`] and [`routes`]: the documents and paths of the daemon's socket.
//!
//! No unsafe code and no input or output but files and the core's doors.
#![forbid(unsafe_code)]

pub mod api;
pub mod boot;
pub mod builder;
pub mod bzimage;
pub mod disk;
pub mod domain;
pub mod file;
pub mod layout;
pub mod network;
pub mod routes;

pub mod spec;
pub mod units;
