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

use crate::bzimage::{BzImage, HEADER_BYTES};
use crate::layout::{self, Placement};
use crate::spec::DomainSpec;
use crate::units::format_size;
use crate::{boot, domain};
use hv_abi::domain::DomainConfig;
use hv_abi::{DomainId, PAGE_SIZE, Status};
use hv_client::{Calls, Core, Error, ForeignMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes copied between two looks at `keep_on`.
const CHUNK: usize = 1 << 20;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking at kernel and initrd.
    Files,
    /// Looking at the host.
    Host,
    /// Making the domain.
    Create,
    /// Giving it memory.
    Memory,
    /// Copying the kernel.
    Kernel,
    /// Copying the initrd.
    Initrd,
    /// Making the console's port.
    Console,
    /// Writing what the kernel reads first.
    Boot,
    /// Setting vCPUs up.
    Vcpus,
    /// The caller's part: joining the console, keeping the record, starting.
    Start,
}

impl Step {
    /// For messages: "while …".
    pub fn text(self) -> &'static str {
        match self {
            Step::Files => "checking kernel and initrd",
            Step::Host => "asking the core for its memory",
            Step::Create => "making the domain",
            Step::Memory => "giving it memory",
            Step::Kernel => "loading the kernel",
            Step::Initrd => "loading the initrd",
            Step::Console => "making its console",
            Step::Boot => "writing its boot data",
            Step::Vcpus => "setting up its vCPUs",
            Step::Start => "starting it",
        }
    }
}

/// Why there is no domain.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct BuildError {
    /// What was being done.
    pub step: Step,
    /// The domain file's key that is at fault, if one is.
    pub field: Option<&'static str>,
    /// What happened.
    pub why: String,
    /// What to do.
    pub hint: Option<String>,
    /// Whether it was the caller who wanted an end.
    pub cancelled: bool,
}

impl BuildError {
    fn new(step: Step, field: Option<&'static str>, why: impl ToString) -> Self {
        Self { step, field, why: why.to_string(), hint: None, cancelled: false }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failure at one of the core's doors.
    pub fn core(step: Step, e: Error) -> Self {
        let hint = match e.status() {
            Some(Status::Limit) => Some("the core's limit of domains or ports is reached"),
            Some(Status::Denied) => Some("only the control domain may build domains"),
            _ => None,
        };
        Self { hint: hint.map(Into::into), ..Self::new(step, None, e) }
    }

    fn cancelled(step: Step) -> Self {
        Self { cancelled: true, ..Self::new(step, None, "cancelled") }
    }
}

/// A domain that is built but not started; destroyed when dropped.
pub struct Built<'a> {
    core: &'a dyn Core,
    id: DomainId,
    /// The guest's port of its console.
    pub console_port: u32,
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

/// A file that is open, with its length.
struct Input {
    file: File,
    len: u64,
    field: &'static str,
}

impl Input {
    fn open(path: &Path, field: &'static str) -> Result<Self, BuildError> {
        let no = |why: String| BuildError::new(Step::Files, Some(field), why);
        let open = || {
            let file = File::open(path)?;
            let meta = file.metadata()?;
            Ok::<_, std::io::Error>((file, meta))
        };
        let (file, meta) = open().map_err(|e| {
            no(format!("cannot read the {field} {}: {e}", path.display()))
                .hint(format!("check the path that `{field}` names"))
        })?;
        if !meta.is_file() {
            return Err(no(format!("{} is no file", path.display())));
        }
        Ok(Self { file, len: meta.len(), field })
    }

    /// Copies `len` bytes from `offset` on to the domain's memory at `gpa`.
    fn copy(
        &mut self,
        job: &Job<'_>,
        (id, step, gpa): (DomainId, Step, u64),
        (offset, len): (u64, u64),
    ) -> Result<(), BuildError> {
        let field = Some(self.field);
        let map = job.map(id, step, gpa, len.next_multiple_of(PAGE_SIZE))?;
        let mut chunk = vec![0; CHUNK.min(len as usize)];
        let mut done = 0;
        self.file.seek(SeekFrom::Start(offset)).map_err(|e| BuildError::new(step, field, e))?;
        while done < len {
            job.check(step)?;
            let n = chunk.len().min((len - done) as usize);
            self.file.read_exact(&mut chunk[..n]).map_err(|e| {
                BuildError::new(step, field, format!("cannot read the {}: {e}", self.field))
            })?;
            map.write(done as usize, &chunk[..n]).map_err(|e| BuildError::core(step, e))?;
            done += n as u64;
        }
        Ok(())
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
    if let Some(fault) = spec.faults().into_iter().next() {
        let e = BuildError::new(Step::Files, Some(fault.field), fault.message);
        return Err(e);
    }
    let (mut kernel, image) = open_kernel(&spec.kernel)?;
    let cmdline = spec.kernel_cmdline();
    if cmdline.len() > image.cmdline_max {
        let max = image.cmdline_max;
        let why = format!("the command line is {} bytes, this kernel takes {max}", cmdline.len());
        return Err(BuildError::new(Step::Files, Some("cmdline"), why));
    }
    let mut initrd = match &spec.initrd {
        Some(path) => Some(Input::open(path, "initrd")?),
        None => None,
    };
    let initrd_len = initrd.as_ref().map_or(0, |i| i.len);
    let place = layout::place(&image, initrd_len, spec.memory).map_err(|why| {
        BuildError::new(Step::Files, Some("memory"), why).hint("give the domain more memory")
    })?;

    check_host(core, spec)?;
    job.check(Step::Create)?;
    let id = create(core, spec, uuid)?;
    // From here on dropping `built` undoes everything.
    let mut built = Built { core, id, console_port: 0 };
    populate(&job, id, spec)?;
    let part = (image.payload, image.payload_len);
    kernel.copy(&job, (id, Step::Kernel, place.kernel), part)?;
    if let (Some(initrd), Some(gpa)) = (&mut initrd, place.initrd) {
        initrd.copy(&job, (id, Step::Initrd, gpa), (0, initrd_len))?;
    }
    built.console_port = core.event_alloc(id).map_err(|e| BuildError::core(Step::Console, e))?;
    write_boot_data(&job, &built, spec, uuid, &image, place, initrd_len, &cmdline)?;
    set_up_vcpus(core, id, spec, place.kernel)?;
    job.check(Step::Start)?;
    Ok(built)
}

fn open_kernel(path: &Path) -> Result<(Input, BzImage), BuildError> {
    let mut kernel = Input::open(path, "kernel")?;
    let mut head = Vec::new();
    Read::by_ref(&mut kernel.file)
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(|e| BuildError::new(Step::Files, Some("kernel"), e))?;
    let image = BzImage::parse(&head, kernel.len).map_err(|e| {
        let why = format!("{} cannot be booted: {e}", path.display());
        BuildError::new(Step::Files, Some("kernel"), why).hint(e.hint)
    })?;
    Ok((kernel, image))
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

#[allow(clippy::too_many_arguments, reason = "all of it goes into one page or next to it")]
fn write_boot_data(
    job: &Job<'_>,
    built: &Built<'_>,
    spec: &DomainSpec,
    uuid: [u8; 16],
    image: &BzImage,
    place: Placement,
    initrd_len: u64,
    cmdline: &str,
) -> Result<(), BuildError> {
    let map = job.map(built.id, Step::Boot, 0, layout::BOOT_END)?;
    let mut cmdline = cmdline.as_bytes().to_vec();
    cmdline.push(0);
    let zero_page = boot::zero_page(image, place, initrd_len, spec.memory);
    let info = boot::start_info(&spec.name, uuid, spec.vcpus, built.console_port);
    let write = || {
        map.write(layout::GDT as usize, &boot::gdt())?;
        map.write(layout::ZERO_PAGE as usize, &zero_page)?;
        map.write(layout::PAGE_TABLES as usize, &boot::page_tables())?;
        map.write(layout::CMDLINE as usize, &cmdline)?;
        // The console page is zero already: fresh memory is.
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
