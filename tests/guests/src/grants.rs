// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tests of grants share: two children that know each other's number,
//! and a granter that grants its data and waits.

use hv_abi::Door;
use hv_abi::domain::DomainCounters;
use hv_guest::hypercall::{Hv, gpa_mut};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, failure, grant, memory, ok};

use crate::child::{Child, EXTENT, Spec};
use crate::host;

/// Spare memory of each child.
pub const DATA: u64 = 0x400_0000;
/// Where nothing is: children map there.
pub const WINDOW: u64 = 0x2_0000_0000;

/// Populates a child's spare memory.
pub fn spare(child: &Child) -> Outcome {
    host::populate(child.id, DATA, EXTENT).map_err(|s| failure!("MemoryPopulate: {s:?}"))
}

/// Two children with spare memory; each has the other's number in word 0.
pub fn pair(
    first: fn() -> Outcome,
    second: fn() -> Outcome,
    spare_pages: u64,
) -> Outcome<(Child, Child)> {
    let make = |main| Child::with(&Spec { spare: spare_pages, ..Spec::new(main) });
    let (a, b) = (make(first)?, make(second)?);
    spare(&a)?;
    spare(&b)?;
    a.mail()?.tell(0, b.id);
    b.mail()?.tell(0, a.id);
    Ok((a, b))
}

/// Grants `to(2)` bytes of stamped data with flags `to(3)` to domain `to(0)` as
/// entry 0, then waits for good.
fn granter() -> Outcome {
    ok!(grant::setup());
    // SAFETY: spare memory of this child.
    unsafe { memory::stamp(DATA, 0x4000, 0) };
    grant::give(0, DATA, MAIL.to(2) as u32, MAIL.to(0), MAIL.to(3) as u16);
    MAIL.answer(0, 1);
    loop {
        hv_guest::cpu::hlt();
    }
}

/// A child that has granted `len` bytes at [`DATA`] to a domain; each word of
/// them is its own address. It runs on, halted.
pub fn granting_to(domain: u64, len: u64, flags: u16) -> Outcome<Child> {
    let mut a = Child::with(&Spec { spare: EXTENT, ..Spec::new(granter) })?;
    a.give(DATA, EXTENT)?;
    let mail = a.mail()?;
    mail.tell(0, domain);
    mail.tell(2, len);
    mail.tell(3, flags.into());
    a.start()?;
    a.wait_for(0, 1)?;
    Ok(a)
}

/// The same with one page for a child that has spare memory, or not yet.
pub fn granting(to: &Child, flags: u16) -> Outcome<Child> {
    let a = granting_to(to.id, 4096, flags)?;
    to.mail()?.tell(0, a.id);
    Ok(a)
}

/// A granter of one page and its peer, which runs `mapper` once started.
pub fn granted(mapper: fn() -> Outcome, flags: u16) -> Outcome<(Child, Child)> {
    let b = Child::with(&Spec { spare: EXTENT, ..Spec::new(mapper) })?;
    spare(&b)?;
    Ok((granting(&b, flags)?, b))
}

/// DomainCounters.
pub fn counters(domain: u64) -> Outcome<DomainCounters> {
    let mut counters = DomainCounters::default();
    Hv.domain_counters(domain, gpa_mut(&mut counters))
        .map_err(|s| failure!("DomainCounters: {s:?}"))?;
    Ok(counters)
}
