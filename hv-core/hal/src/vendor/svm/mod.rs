// SPDX-License-Identifier: MIT OR Apache-2.0
//! AMD-V as values; see [`super`] for the files and their twins.

pub mod check;
pub mod decode;
pub mod layout;
pub mod permit;
pub mod state;
