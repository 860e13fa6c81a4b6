// SPDX-License-Identifier: MIT OR Apache-2.0
//! VT-x as values; see [`super`] for the files and their twins. `controls`
//! has no twin: AMD-V has no capability registers to obey.

pub mod check;
pub mod controls;
pub mod decode;
pub mod layout;
pub mod permit;
pub mod state;
