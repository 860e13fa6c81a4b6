// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual interrupts: ports that the core itself raises.

use super::ports::{free, raise, take, vcpu_number};
use super::protocol::Join;
use crate::domain::{Domain, table};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hv_abi::{DOM_CONTROL, Status};

/// A port raised for a virtual interrupt.
pub fn bind_virq(domain: &Arc<Domain>, virq: u64, vcpu: u64) -> Result<u32, Status> {
    let vcpu = vcpu_number(domain, vcpu)?;
    let index = usize::try_from(virq).map_err(|_| Status::Invalid)?;
    let place = domain.ports.virqs.get(index).ok_or(Status::Invalid)?;
    if virq != hv_abi::event::virq::SHUTDOWN && !domain.is_control() {
        return Err(Status::Denied);
    }
    let number = take(domain, Join::Virq(index as u32), vcpu)?;
    let first = place.compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
    if first.is_err() {
        free(domain, number);
        return Err(Status::Exists);
    }
    Ok(number)
}

/// Raises a virtual interrupt of a domain, if it is bound.
pub fn raise_virq(domain: &Arc<Domain>, virq: u64) {
    let number = usize::try_from(virq)
        .ok()
        .and_then(|i| domain.ports.virqs.get(i))
        .map_or(0, |place| place.load(Ordering::SeqCst));
    if number != 0 {
        raise(domain, number, Join::Virq(virq as u32));
    }
}

/// Raises a virtual interrupt of the control domain.
pub fn raise_control(virq: u64) {
    if let Some(control) = table::get(DOM_CONTROL) {
        raise_virq(&control, virq);
    }
}
