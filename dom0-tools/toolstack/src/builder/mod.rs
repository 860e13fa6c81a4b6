// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a spec to a domain that is ready to be started.
//!
//! ```text
//! fn build(core, spec, uuid, keep_on) -> Result<Built, BuildError>
//! ```
//!
//! Files are looked at first and memory is claimed before anything is written,
//! so that most failures come before there is anything to undo. What there is,
//! a [`Built`] owns: dropped before [`Built::release`] it destroys the domain,
//! so that an early return, a caller's failure and a panic all leave nothing
//! behind. `keep_on` is asked between pieces of work; `false` ends it.

mod error;
mod files;

pub use error::{BuildError, Step};
pub use files::check_files;

use crate::spec::DomainSpec;
use crate::units::format_size;
use crate::{boot, domain, layout};
use files::{Files, Input};
use hv_abi::domain::DomainConfig;
use hv_abi::{DomainId, PAGE_SIZE, Status};
use hv_client::{Calls, Core, ForeignMap};
use std::io::{Read, Seek, SeekFrom};

/// Bytes copied between two looks at `keep_on`.
const CHUNK: usize = 1 << 20;

/// A domain that is built but not started; destroyed when dropped.
pub struct Built<'a> {
    core: &'a dyn Core,
    id: DomainId,
    /// The guest's ports of its console and of its devices' coming and going.
    pub ports: boot::Ports,
}

impl Built<'_> {
    /// Its number.
    pub fn id(&self) -> DomainId {
        self.id
    }

    /// The domain is somebody else's from now on.
    pub fn release(self) -> DomainId {
        let id = self.id;
        std::mem::forget(self);
        id
    }
}

impl Drop for Built<'_> {
    fn drop(&mut self) {
        // A domain that cannot be destroyed stays in the core's list, where
        // `hvctl doctor` finds it: it was never started.
        let _ = domain::destroy(self.core, self.id);
    }
}

struct Job<'a> {
    core: &'a dyn Core,
    keep_on: &'a dyn Fn() -> bool,
}

impl Job<'_> {
    fn check(&self, step: Step) -> Result<(), BuildError> {
        if (self.keep_on)() {
            return Ok(());
        }
        Err(BuildError::cancelled(step))
    }

    fn map(&self, id: DomainId, step: Step, gpa: u64, len: u64) -> Result<ForeignMap, BuildError> {
        self.core.map(id, gpa, len as usize).map_err(|e| BuildError::core(step, e))
    }
}

/// See the module.
pub fn build<'a>(
    core: &'a dyn Core,
    spec: &DomainSpec,
    uuid: [u8; 16],
    keep_on: &dyn Fn() -> bool,
) -> Result<Built<'a>, BuildError> {
    let job = Job { core, keep_on };
    let mut files = Files::open(spec)?;
    check_host(core, spec)?;
    job.check(Step::Create)?;
    let id = create(core, spec, uuid)?;
    // From here on dropping `built` undoes everything.
    let mut built = Built { core, id, ports: boot::Ports::default() };
    populate(&job, id, spec)?;
    let (place, initrd_len) = (files.place, files.initrd_len());
    let part = (files.image.payload, files.image.payload_len);
    copy(&job, &mut files.kernel, (id, Step::Kernel, place.kernel), part)?;
    if let (Some(initrd), Some(gpa)) = (&mut files.initrd, place.initrd) {
        copy(&job, initrd, (id, Step::Initrd, gpa), (0, initrd_len))?;
    }
    built.ports = make_ports(core, id).map_err(|e| BuildError::core(Step::Console, e))?;
    write_boot_data(&job, &built, spec, uuid, &files)?;
    set_up_vcpus(core, id, spec, place.kernel)?;
    job.check(Step::Start)?;
    Ok(built)
}

fn make_ports(core: &dyn Core, id: DomainId) -> Result<boot::Ports, hv_client::Error> {
    Ok(boot::Ports { console: core.event_alloc(id)?, bus: core.event_alloc(id)? })
}

/// Copies `len` bytes of a file from `offset` on to the domain's memory at `gpa`.
fn copy(
    job: &Job<'_>,
    input: &mut Input,
    (id, step, gpa): (DomainId, Step, u64),
    (offset, len): (u64, u64),
) -> Result<(), BuildError> {
    let field = Some(input.field);
    let map = job.map(id, step, gpa, len.next_multiple_of(PAGE_SIZE))?;
    let mut chunk = vec![0; CHUNK.min(len as usize)];
    let mut done = 0;
    input.file.seek(SeekFrom::Start(offset)).map_err(|e| BuildError::new(step, field, e))?;
    while done < len {
        job.check(step)?;
        let n = chunk.len().min((len - done) as usize);
        input.file.read_exact(&mut chunk[..n]).map_err(|e| {
            BuildError::new(step, field, format!("cannot read the {}: {e}", input.field))
        })?;
        map.write(done as usize, &chunk[..n]).map_err(|e| BuildError::core(step, e))?;
        done += n as u64;
    }
    Ok(())
}

/// Refuses early what cannot succeed; the core has the last word.
fn check_host(core: &dyn Core, spec: &DomainSpec) -> Result<(), BuildError> {
    let host = core.host_info().map_err(|e| BuildError::core(Step::Host, e))?;
    let free = host.free_pages * PAGE_SIZE;
    if spec.memory > free {
        return Err(no_memory(spec.memory, free));
    }
    if let Some(set) = spec.cpu.affinity
        && host.cpus < 64
        && set.0 >> host.cpus != 0
    {
        let why = format!("CPUs {set} are wanted, but the host has CPUs 0 to {}", host.cpus - 1);
        return Err(BuildError::new(Step::Host, Some("cpu.affinity"), why));
    }
    Ok(())
}

fn no_memory(wanted: u64, free: u64) -> BuildError {
    let mib = free >> 20;
    let wanted = format_size(wanted);
    let why = format!("too little memory: {wanted} are wanted, {mib}M are free for guests");
    BuildError::new(Step::Memory, Some("memory"), why)
        .hint("destroy another domain, or ask for less")
}

fn create(core: &dyn Core, spec: &DomainSpec, uuid: [u8; 16]) -> Result<DomainId, BuildError> {
    let config = DomainConfig {
        domain: 0,
        vcpus: spec.vcpus,
        max_pages: spec.memory / PAGE_SIZE,
        start_info: layout::START_INFO,
        max_ports: 0,
        weight: spec.cpu.weight,
        cap: spec.cpu.cap,
        flags: 0,
        uuid,
        name: boot::padded(&spec.name),
    };
    core.domain_create(&config).map_err(|e| BuildError::core(Step::Create, e))
}

fn populate(job: &Job<'_>, id: DomainId, spec: &DomainSpec) -> Result<(), BuildError> {
    for range in layout::ram(spec.memory) {
        let mut keep_on = || (job.keep_on)();
        job.core.memory_populate(id, range.start, range.pages(), &mut keep_on).map_err(
            |e| match e.status() {
                Some(Status::NoMemory) => {
                    let free = job.core.host_info().map_or(0, |h| h.free_pages * PAGE_SIZE);
                    no_memory(spec.memory, free)
                }
                _ => BuildError::core(Step::Memory, e),
            },
        )?;
        job.check(Step::Memory)?;
    }
    Ok(())
}

fn write_boot_data(
    job: &Job<'_>,
    built: &Built<'_>,
    spec: &DomainSpec,
    uuid: [u8; 16],
    files: &Files,
) -> Result<(), BuildError> {
    let map = job.map(built.id, Step::Boot, 0, layout::BOOT_END)?;
    let mut cmdline = files.cmdline.clone().into_bytes();
    cmdline.push(0);
    let zero_page = boot::zero_page(&files.image, files.place, files.initrd_len(), spec.memory);
    let info = boot::start_info(&spec.name, uuid, spec.vcpus, built.ports);
    let write = || {
        map.write(layout::GDT as usize, &boot::gdt())?;
        map.write(layout::ZERO_PAGE as usize, &zero_page)?;
        map.write(layout::PAGE_TABLES as usize, &boot::page_tables())?;
        map.write(layout::CMDLINE as usize, &cmdline)?;
        // The console page and the device pages are zero already: fresh memory is.
        map.write_object(layout::START_INFO as usize, &info)
    };
    write().map_err(|e| BuildError::core(Step::Boot, e))
}

fn set_up_vcpus(
    core: &dyn Core,
    id: DomainId,
    spec: &DomainSpec,
    kernel: u64,
) -> Result<(), BuildError> {
    let no = |e| BuildError::core(Step::Vcpus, e);
    // The others stay as they were made, offline, until the kernel starts them.
    core.vcpu_set_context(id, 0, &boot::entry_context(kernel)).map_err(no)?;
    if let Some(cpus) = spec.cpu.affinity {
        for vcpu in 0..spec.vcpus {
            core.vcpu_affinity(id, vcpu, cpus.0).map_err(no)?;
        }
    }
    Ok(())
}
