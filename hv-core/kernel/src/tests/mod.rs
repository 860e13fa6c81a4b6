// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the kernel crate as a whole, over the scripted machine.

mod delivery;
mod domains;
mod events;
mod grant_model;
mod grants;
mod lapic;
mod memory;
mod random;
mod scheduling;
