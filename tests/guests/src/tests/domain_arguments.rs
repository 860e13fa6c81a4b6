// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wrong arguments of every call on domains and vCPUs are refused, and
//! nothing is left behind.

use hv_abi::domain::DomainConfig;
use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::{call, gpa};
use hv_guest::{Outcome, check_eq, failure, ok};

use crate::child::{config, first_context};
use crate::host;

fn no(made: H, wanted: Status) -> Outcome {
    match call(made) {
        Err(status) if status == wanted => Ok(()),
        other => Err(failure!("{made:x?}: {other:?}, not {wanted:?}")),
    }
}

fn create() -> Outcome {
    let wrong = |change: &dyn Fn(&mut DomainConfig)| {
        let mut config = config("wrong");
        change(&mut config);
        host::create(&config)
    };
    let invalid = Err(Status::Invalid);
    check_eq!(wrong(&|c| c.vcpus = 0), invalid);
    check_eq!(wrong(&|c| c.vcpus = 65), invalid);
    check_eq!(wrong(&|c| c.vcpus = u32::MAX), invalid);
    check_eq!(wrong(&|c| c.domain = 4096), invalid);
    check_eq!(wrong(&|c| c.domain = 0xffff), invalid);
    check_eq!(wrong(&|c| c.domain = u32::MAX), invalid);
    check_eq!(wrong(&|c| c.max_ports = 1 << 14 | 1), invalid);
    check_eq!(wrong(&|c| c.weight = 0x1_0000), invalid);
    check_eq!(wrong(&|c| c.flags = 1), invalid);
    check_eq!(wrong(&|c| c.start_info = 4), invalid);
    for at in [0xfee0_0000, 1 << 46, u64::MAX - 8] {
        no(H::DomainCreate { gpa: at }, Status::Fault)?;
    }
    let mut wanted = config("wanted");
    wanted.domain = 1234;
    check_eq!(host::create(&wanted), Ok(1234));
    check_eq!(host::create(&wanted), Err(Status::Exists));
    ok!(host::destroy(1234));
    check_eq!(host::create(&wanted), Ok(1234), "after it was destroyed");
    ok!(host::destroy(1234));
    Ok(())
}

fn by_number() -> Outcome {
    let context = first_context(run);
    let gpa = gpa(&context);
    for domain in [4000, 4096, 0xffff, 1 << 16, u64::MAX] {
        no(H::DomainDestroy { domain }, Status::NotFound)?;
        no(H::DomainPause { domain }, Status::NotFound)?;
        no(H::DomainUnpause { domain }, Status::NotFound)?;
        no(H::DomainWeight { domain, weight: 1, cap: 0 }, Status::NotFound)?;
        no(H::VcpuSetContext { domain, vcpu: 0, gpa }, Status::NotFound)?;
        no(H::VcpuGetContext { domain, vcpu: 0, gpa }, Status::NotFound)?;
        no(H::VcpuInfo { domain, vcpu: 0, gpa }, Status::NotFound)?;
        no(H::VcpuAffinity { domain, vcpu: 0, cpus: 1 }, Status::NotFound)?;
        no(H::TraceRead { domain, vcpu: 0, gpa }, Status::NotFound)?;
    }
    // The control domain can't be done away with.
    no(H::DomainDestroy { domain: 0 }, Status::Invalid)?;
    no(H::DomainPause { domain: 0 }, Status::Invalid)?;
    no(H::VcpuSetContext { domain: 0, vcpu: 0, gpa }, Status::Invalid)?;
    no(H::VcpuGetContext { domain: 0, vcpu: 0, gpa }, Status::Invalid)?;
    no(H::VcpuAffinity { domain: 0, vcpu: 0, cpus: 1 }, Status::Invalid)?;
    no(H::DomainUnpause { domain: 0 }, Status::State)
}

fn vcpus() -> Outcome {
    let context = first_context(run);
    let at = gpa(&context);
    let domain = ok!(host::create(&config("vcpus")));
    for vcpu in [1, 64, 1 << 32, u64::MAX] {
        no(H::VcpuSetContext { domain, vcpu, gpa: at }, Status::NotFound)?;
        no(H::VcpuGetContext { domain, vcpu, gpa: at }, Status::NotFound)?;
        no(H::VcpuInfo { domain, vcpu, gpa: at }, Status::NotFound)?;
        no(H::VcpuAffinity { domain, vcpu, cpus: 1 }, Status::NotFound)?;
        no(H::TraceRead { domain, vcpu, gpa: at }, Status::NotFound)?;
    }
    for gpa in [0xfee0_0000, 1 << 46, u64::MAX - 8] {
        no(H::VcpuSetContext { domain, vcpu: 0, gpa }, Status::Fault)?;
        no(H::VcpuGetContext { domain, vcpu: 0, gpa }, Status::Fault)?;
        no(H::VcpuInfo { domain, vcpu: 0, gpa }, Status::Fault)?;
        no(H::TraceRead { domain, vcpu: 0, gpa }, Status::Fault)?;
    }
    no(H::VcpuAffinity { domain, vcpu: 0, cpus: 0 }, Status::Invalid)?;
    no(H::VcpuAffinity { domain, vcpu: 0, cpus: 1 << 63 }, Status::Invalid)?;
    for weight in [0, 0x1_0000, 1 << 32, u64::MAX] {
        no(H::DomainWeight { domain, weight, cap: 0 }, Status::Invalid)?;
    }
    no(H::DomainWeight { domain, weight: 1, cap: 101 }, Status::Invalid)?;
    no(H::DomainWeight { domain, weight: 1, cap: u64::MAX }, Status::Invalid)?;
    ok!(host::destroy(domain));
    no(H::DomainDestroy { domain }, Status::NotFound)
}

/// The runner's part.
pub fn run() -> Outcome {
    create()?;
    by_number()?;
    vcpus()?;
    no(H::HostPower { action: 2 }, Status::Invalid)?;
    no(H::HostPower { action: u64::MAX }, Status::Invalid)?;
    for gpa in [0xfee0_0000, 1 << 46, u64::MAX - 8] {
        no(H::HostInfo { gpa }, Status::Fault)?;
        no(H::MemoryPool { index: 0, gpa }, Status::Fault)?;
        no(H::LogRead { cursor: 0, gpa, len: 16 }, Status::Fault)?;
    }
    no(H::MemoryPool { index: 1000, gpa: 0 }, Status::NotFound)?;
    no(H::MemoryPool { index: u64::MAX, gpa: 0 }, Status::NotFound)?;
    for len in [0, 4097, u64::MAX] {
        no(H::LogRead { cursor: 0, gpa: 0, len }, Status::Invalid)?;
    }
    Ok(())
}
