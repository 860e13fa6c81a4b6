// SPDX-License-Identifier: MIT OR Apache-2.0
//! DomainInfo: a guest sees itself and nobody else; the control domain walks
//! all domains, with name, mark and figures as they are.

use hv_abi::domain::DomainInfo;
use hv_abi::{DOM_SELF, Hypercall as H, Status};
use hv_guest::hypercall::{call, gpa_mut};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, ok};
use zerocopy::FromZeros;

use crate::child::{Child, config};
use crate::host;

fn child() -> Outcome {
    let own = MAIL.to(0);
    for at_or_after in [0, own, DOM_SELF] {
        check_eq!(u64::from(ok!(host::domain_from(at_or_after)).domain), own);
    }
    for at_or_after in [own + 1, 4095, u64::MAX] {
        check_eq!(host::domain_from(at_or_after).map(|i| i.domain), Err(Status::NotFound));
    }
    let mut info = DomainInfo::new_zeroed();
    let gpa = gpa_mut(&mut info);
    for gpa in [0x20_0000 - 8, 0x3000_0000, u64::MAX - 4, 1 << 52] {
        check_eq!(call(H::DomainInfo { at_or_after: 0, gpa }), Err(Status::Fault), "{gpa:#x}");
    }
    // Unaligned is allowed: structures are copied.
    check_eq!(call(H::DomainInfo { at_or_after: 0, gpa: 0x1_2fff }), Ok(0));
    check_eq!(call(H::DomainInfo { at_or_after: 0, gpa }), Ok(0));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let guest = Child::new(child)?;
    guest.mail()?.tell(0, guest.id);
    let mut config = config("second");
    config.uuid = *b"0123456789abcdef";
    config.vcpus = 3;
    config.max_pages = 77;
    config.weight = 100;
    config.cap = 50;
    let second = ok!(host::create(&config));
    check_eq!(ok!(host::domain_from(0)).domain, 0);
    let first = ok!(host::domain_from(1));
    check!([guest.id, second].contains(&u64::from(first.domain)));
    let info = ok!(host::domain(second));
    check_eq!((info.uuid, info.name), (config.uuid, config.name));
    check_eq!((info.vcpus, info.max_pages, info.pages), (3, 77, 0));
    check_eq!((info.weight, info.cap, info.foreign_pages), (100, 50, 0));
    let last = second.max(guest.id);
    check_eq!(host::domain_from(last + 1).map(|i| i.domain), Err(Status::NotFound));
    ok!(host::destroy(second));
    guest.start()?;
    guest.finish()?;
    guest.destroy()
}
