// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may do what: all policy on hypercalls is in this file. A handler that
//! needs more than its caller's own domain takes a [`Control`] witness, which
//! only [`control`] makes.

use crate::domain::Domain;
use hv_abi::{Caller, Hypercall, Status};

/// Proof that the caller is the control domain.
#[derive(Clone, Copy)]
pub struct Control<'a>(&'a Domain);

impl<'a> Control<'a> {
    /// The control domain.
    pub fn domain(self) -> &'a Domain {
        self.0
    }
}

/// The witness, if the caller is the control domain.
pub fn control(caller: &Domain) -> Result<Control<'_>, Status> {
    if caller.is_control() { Ok(Control(caller)) } else { Err(Status::Denied) }
}

/// May the caller make this call at all? By the table's class.
pub fn check(caller: &Domain, call: Hypercall) -> Result<(), Status> {
    match call.info().caller {
        Caller::Any => Ok(()),
        Caller::Control => control(caller).map(|_| ()),
    }
}
