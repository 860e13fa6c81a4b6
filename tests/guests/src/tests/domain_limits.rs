// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits of a domain hold and can be moved; what is no limit is refused.

use hv_abi::domain::limit;
use hv_abi::{Door, Status};
use hv_guest::hypercall::Hv;
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check_eq, grant, ok};

use crate::child::{EXTENT, image_extents};
use crate::grants::{self, WINDOW};

fn child() -> Outcome {
    let mut ports = [0; 3];
    for port in &mut ports {
        *port = ok!(Hv.event_bind_ipi(0));
    }
    check_eq!(Hv.event_bind_ipi(0), Err(Status::Limit), "ports");
    for port in ports {
        ok!(Hv.event_close(port));
    }
    let granter = MAIL.to(0);
    let first = ok!(grant::map(granter, 0, 1, WINDOW, 0));
    let second = ok!(grant::map(granter, 0, 1, WINDOW + 0x1000, 0));
    let third = grant::map(granter, 0, 1, WINDOW + 0x2000, 0);
    check_eq!(third, Err(Status::Limit), "mappings");
    ok!(grant::unmap(first));
    let third = ok!(grant::map(granter, 0, 1, WINDOW + 0x2000, 0));
    check_eq!(grant::setup(), Err(Status::Limit), "entries of the table");
    ok!(grant::unmap(second));
    ok!(grant::unmap(third));
    check_eq!(Hv.memory_increase(WINDOW, 1), Err(Status::Limit), "pages");
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let (a, b) = grants::granted(child, 0)?;
    let pages = EXTENT * 2 + image_extents().1;
    for (limit, value) in
        [(limit::PORTS, 3), (limit::GRANTS, 127), (limit::MAPPINGS, 2), (limit::PAGES, pages)]
    {
        check_eq!(Hv.domain_limit(b.id, limit, value), Ok(value));
        check_eq!(Hv.domain_limit(b.id, limit, limit::ASK), Ok(value));
    }
    for (domain, limit, value, wanted) in [
        (b.id, limit::COUNT, 1, Status::Invalid),
        (b.id, u64::MAX, 1, Status::Invalid),
        (b.id, limit::PORTS, 1 << 20, Status::Invalid),
        (b.id, limit::GRANTS, (1 << 14) + 1, Status::Invalid),
        (b.id, limit::MAPPINGS, 1 << 16, Status::Invalid),
        (b.id, limit::PAGES, 1 << 36, Status::Invalid),
        (a.id, limit::GRANTS, 1, Status::State),
        (0, limit::PAGES, 1, Status::Invalid),
        (4000, limit::PORTS, 1, Status::NotFound),
    ] {
        check_eq!(Hv.domain_limit(domain, limit, value), Err(wanted), "{domain} {limit} {value}");
    }
    b.start()?;
    b.finish()?;
    b.destroy()?;
    a.destroy()
}
