// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's counters before and after a test.

use hv_abi::domain::state;
use hv_abi::{Hypercall, Status};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, cpu, failure};

use crate::host;

/// Counters that every test must leave as it found them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Baseline {
    free_pages: u64,
    heap_used: u64,
    domains: u64,
    vcpus: u64,
    ports: u64,
    foreign_pages: u64,
    grant_uses: u64,
    granted_pages: u64,
    claimed_pages: u64,
}

impl Baseline {
    /// The counters now.
    pub fn take() -> Outcome<Self> {
        let info = host::host().map_err(|status| failure!("HostInfo: {status:?}"))?;
        Ok(Self {
            free_pages: info.free_pages,
            heap_used: info.heap_used,
            domains: info.domains,
            vcpus: info.vcpus,
            ports: info.ports,
            foreign_pages: info.foreign_pages,
            grant_uses: info.grant_uses,
            granted_pages: info.granted_pages,
            claimed_pages: info.claimed_pages,
        })
    }

    /// Fails unless the counters are as they were and the audit is clean.
    pub fn compare(self) -> Outcome {
        self.counters()?;
        match call(Hypercall::Audit {}) {
            Ok(0) => Ok(()),
            Ok(n) => Err(failure!("the audit found {n} discrepancies")),
            Err(status) => Err(failure!("Audit: {status:?}")),
        }
    }

    /// Fails unless the counters are as they were. A CPU may hold a last
    /// reference to a domain for a moment.
    pub fn counters(self) -> Outcome {
        let end = cpu::tsc() + 200 * cpu::khz();
        let mut now = Self::take()?;
        while now != self && cpu::tsc() < end {
            let _ = call(Hypercall::SchedYield {});
            now = Self::take()?;
        }
        let pairs = [
            ("free pages", self.free_pages, now.free_pages),
            ("bytes of heap", self.heap_used, now.heap_used),
            ("domains", self.domains, now.domains),
            ("vCPUs", self.vcpus, now.vcpus),
            ("ports", self.ports, now.ports),
            ("foreign pages", self.foreign_pages, now.foreign_pages),
            ("uses of grants", self.grant_uses, now.grant_uses),
            ("granted pages", self.granted_pages, now.granted_pages),
            ("claimed pages", self.claimed_pages, now.claimed_pages),
        ];
        if let Some((name, was, is)) = pairs.iter().find(|(_, was, is)| was != is) {
            return Err(failure!("{name} were {was}, are {is} afterwards"));
        }
        Ok(())
    }
}

/// Destroys every guest there is; how many there were.
pub fn sweep() -> u64 {
    let mut count = 0;
    let mut id = 1;
    loop {
        match host::domain_from(id) {
            Ok(info) => {
                id = u64::from(info.domain) + 1;
                // A shell that an earlier test left was reported then.
                count += u64::from(info.state & state::DYING == 0);
                let _ = host::destroy(u64::from(info.domain));
            }
            Err(Status::NotFound) => return count,
            Err(_) => return count + 1,
        }
    }
}
