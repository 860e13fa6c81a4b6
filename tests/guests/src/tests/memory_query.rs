// SPDX-License-Identifier: MIT OR Apache-2.0
//! MemoryQuery tells what is at an address, and its machine address to the
//! control domain only.

use hv_abi::memory::{MemoryInfo, access};
use hv_abi::{DOM_SELF, Door, Status};
use hv_guest::hypercall::{Hv, gpa, gpa_mut};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, ok};

use crate::child::Child;

fn query(domain: u64, at: u64) -> Result<MemoryInfo, Status> {
    let mut info = MemoryInfo::default();
    Hv.memory_query(domain, at, gpa_mut(&mut info))?;
    Ok(info)
}

fn child() -> Outcome {
    let info = ok!(query(DOM_SELF, gpa(&MAIL)));
    check_eq!((info.machine, info.maps, info.grants), (0, 1, 0));
    check_eq!(info.access, access::READ | access::WRITE | access::EXECUTE);
    check!(info.owner != 0 && u64::from(info.owner) == MAIL.to(0));
    check_eq!(query(0, 0x1000).map(|i| i.owner), Err(Status::Denied));
    check_eq!(query(DOM_SELF, 0x1001).map(|i| i.owner), Err(Status::Invalid));
    check_eq!(query(DOM_SELF, 1 << 47).map(|i| i.owner), Err(Status::Invalid));
    check_eq!(query(DOM_SELF, !4095).map(|i| i.owner), Err(Status::Invalid));
    check_eq!(query(DOM_SELF, 0xfee0_0000).map(|i| i.owner), Err(Status::NotFound));
    check_eq!(Hv.memory_query(DOM_SELF, 0x1000, 0xfee0_0000), Err(Status::Fault));
    check_eq!(Hv.memory_query(DOM_SELF, 0x1000, u64::MAX - 3), Err(Status::Fault));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::new(child)?;
    child.mail()?.tell(0, child.id);
    let info = ok!(query(child.id, gpa(&MAIL)));
    check_eq!(info.machine, child.at(gpa(&MAIL))?);
    check_eq!(info.log2_pages, 9);
    check_eq!(query(child.id, 0xfee0_0000).map(|i| i.owner), Err(Status::NotFound));
    check_eq!(query(4000, 0).map(|i| i.owner), Err(Status::NotFound));
    child.start()?;
    child.finish()?;
    child.destroy()
}
