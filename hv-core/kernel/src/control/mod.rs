// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control domain: which memory is its own ([`layout`]), its kernel's
//! image ([`bzimage`]), what the kernel is told ([`boot_params`]), and the
//! making of it all ([`build`]).

pub mod boot_params;
pub mod build;
pub mod bzimage;
pub mod layout;
