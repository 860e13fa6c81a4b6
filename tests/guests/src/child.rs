// SPDX-License-Identifier: MIT OR Apache-2.0
//! Children: guests that are copies of this image. A child has memory at 0
//! (2 MiB, for start-up code) and where the image lies; its first vCPU begins
//! in a function of the image. Dropping a child destroys its domain.

use hv_abi::domain::{DomainConfig, DomainInfo, reason, state};
use hv_abi::memory::ForeignRun;
use hv_abi::vcpu::{Segment, VcpuContext, segment};
use hv_abi::{Hypercall as H, Status};
use hv_guest::descriptor::{CODE, DATA};
use hv_guest::hypercall::{call, gpa};
use hv_guest::mail::{MAIL, Mailbox};
use hv_guest::paging::MAPPED;
use hv_guest::{Outcome, Verdict, cpu, error, failure, start};
use zerocopy::FromZeros;

use crate::host;

/// Pages in a 2 MiB extent.
pub const EXTENT: u64 = 512;
/// Milliseconds after which a child that should have ended is given up.
pub const PATIENCE: u64 = 20_000;

/// What a child's domain is made of.
pub struct Spec {
    /// The child's main function.
    pub main: fn() -> Outcome,
    /// vCPUs.
    pub vcpus: u32,
    /// The most event ports, 0 for the default.
    pub ports: u32,
    /// Pages it may have beyond those it is given.
    pub spare: u64,
    /// Scheduling weight, 0 for the default.
    pub weight: u32,
    /// Limit of CPU time in percent, 0 for none.
    pub cap: u32,
}

impl Spec {
    /// One vCPU, nothing special.
    pub fn new(main: fn() -> Outcome) -> Self {
        Self { main, vcpus: 1, ports: 0, spare: 0, weight: 0, cap: 0 }
    }
}

/// Runs of foreign memory that a child's view can have.
const RUNS: usize = 16;

/// A child.
pub struct Child {
    /// Its domain.
    pub id: u64,
    runs: [(u64, ForeignRun); RUNS],
    mapped: usize,
    gone: bool,
}

/// The image's first byte and its length in whole extents.
pub fn image_extents() -> (u64, u64) {
    let image = start::image();
    (image.start, (image.end - image.start).div_ceil(EXTENT * 4096) * EXTENT)
}

/// A configuration with this name.
pub fn config(name: &str) -> DomainConfig {
    let mut config = DomainConfig::new_zeroed();
    config.vcpus = 1;
    config.name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    config
}

/// Registers for the first instruction of a child.
pub fn first_context(main: fn() -> Outcome) -> VcpuContext {
    let data = Segment { selector: DATA, rights: 0xc093, limit: u32::MAX, base: 0 };
    let mut context = VcpuContext {
        rip: start::child_entry(),
        rflags: 2,
        cr0: 0x8000_0033,
        cr3: start::tables(),
        cr4: 1 << 5,
        efer: 1 << 8 | 1 << 10,
        pat: 0x0007_0406_0007_0406,
        dr6: 0xffff_0ff0,
        dr7: 0x400,
        segments: [data; 8],
        xcr0: 1,
        online: 1,
        ..VcpuContext::default()
    };
    // rdi, by the order of encoding.
    context.gpr[7] = main as *const () as u64;
    context.segments[segment::CS] =
        Segment { selector: CODE, rights: 0xa09b, limit: u32::MAX, base: 0 };
    context.segments[segment::TR] = Segment { selector: 0, rights: 0x8b, limit: 0x67, base: 0 };
    context.segments[segment::LDTR] = Segment { selector: 0, rights: 0x82, limit: 0, base: 0 };
    context
}

impl Child {
    /// A child that will run `main`, paused.
    pub fn new(main: fn() -> Outcome) -> Outcome<Self> {
        Self::with(&Spec::new(main))
    }

    /// A child made by `spec`, paused.
    pub fn with(spec: &Spec) -> Outcome<Self> {
        let (start, pages) = image_extents();
        let mut config = config("child");
        config.vcpus = spec.vcpus;
        config.max_ports = spec.ports;
        config.max_pages = EXTENT + pages + spec.spare;
        config.weight = spec.weight;
        config.cap = spec.cap;
        let id = host::create(&config).map_err(|s| failure!("DomainCreate: {s:?}"))?;
        let mut child = Self {
            id,
            runs: [(0, ForeignRun { machine: 0, pages: 0 }); RUNS],
            mapped: 0,
            gone: false,
        };
        child.give(0, EXTENT)?;
        child.give(start, pages)?;
        for (at, bytes) in start::parts() {
            child.copy_in(at, bytes)?;
        }
        host::set_context(id, 0, &first_context(spec.main))
            .map_err(|s| failure!("VcpuSetContext: {s:?}"))?;
        Ok(child)
    }

    /// Populates and opens a range.
    pub fn give(&mut self, at: u64, pages: u64) -> Outcome {
        host::populate(self.id, at, pages).map_err(|s| failure!("MemoryPopulate: {s:?}"))?;
        let mut done = 0;
        while done < pages {
            let from = at + done * 4096;
            let run = host::map(self.id, from, pages - done)
                .map_err(|s| failure!("MemoryMap at {from:#x}: {s:?}"))?;
            if run.pages == 0 || run.pages > pages - done || run.pages > EXTENT {
                return Err(failure!("MemoryMap answered {} pages", run.pages));
            }
            if run.machine + run.pages * 4096 > MAPPED {
                return Err(error!("guests' memory lies above 512 GiB"));
            }
            let Some(slot) = self.runs.get_mut(self.mapped) else {
                return Err(error!("guests' memory is too fragmented"));
            };
            *slot = (from, run);
            self.mapped += 1;
            done += run.pages;
        }
        Ok(())
    }

    /// Where a child's address is seen here.
    pub fn at(&self, address: u64) -> Outcome<u64> {
        self.runs
            .iter()
            .take(self.mapped)
            .find(|(gpa, run)| (*gpa..gpa + run.pages * 4096).contains(&address))
            .map(|(gpa, run)| run.machine + (address - gpa))
            .ok_or_else(|| error!("the child's {address:#x} is not mapped here"))
    }

    fn copy_in(&self, at: u64, bytes: &[u8]) -> Outcome {
        let mut done = 0;
        while done < bytes.len() {
            let to = at + done as u64;
            let part = (4096 - to as usize % 4096).min(bytes.len() - done);
            let here = self.at(to)?;
            // SAFETY: `at` gives memory of the child that is open to us and
            // that no reference of ours is to; it does not run yet.
            unsafe {
                let from = bytes.as_ptr().add(done);
                core::ptr::copy_nonoverlapping(from, here as *mut u8, part);
            }
            done += part;
        }
        Ok(())
    }

    /// Its mailbox.
    pub fn mail(&self) -> Outcome<&Mailbox> {
        let here = self.at(gpa(&MAIL))?;
        // SAFETY: the child has its mailbox at this address, page-aligned;
        // all its fields are atomics, so that it may change at any time. The
        // mapping lives as long as `self`, which `unmap` consumes by `&mut`.
        Ok(unsafe { &*(here as *const Mailbox) })
    }

    /// Ends this side's view of its memory.
    pub fn unmap(&mut self) -> Outcome {
        for index in 0..core::mem::take(&mut self.mapped) {
            let (_, run) = self.runs[index];
            host::unmap(run.machine, run.pages).map_err(|s| failure!("MemoryUnmap: {s:?}"))?;
        }
        Ok(())
    }

    /// Lets it run.
    pub fn start(&self) -> Outcome {
        call(H::DomainUnpause { domain: self.id })
            .map(|_| ())
            .map_err(|s| failure!("DomainUnpause: {s:?}"))
    }

    /// Pauses it.
    pub fn pause(&self) -> Outcome {
        call(H::DomainPause { domain: self.id })
            .map(|_| ())
            .map_err(|s| failure!("DomainPause: {s:?}"))
    }

    /// Its figures.
    pub fn info(&self) -> Outcome<DomainInfo> {
        host::domain(self.id).map_err(|s| failure!("DomainInfo: {s:?}"))
    }

    /// Waits until it has stopped.
    pub fn wait(&self) -> Outcome<DomainInfo> {
        let end = cpu::tsc() + PATIENCE * cpu::khz();
        loop {
            let info = self.info()?;
            if info.state & state::SHUTDOWN != 0 {
                return Ok(info);
            }
            if cpu::tsc() > end {
                return Err(failure!("the child did not end, state {:#x}", info.state));
            }
            let _ = call(H::SchedYield {});
        }
    }

    /// Waits until word `index` of its mail is at least `least`.
    pub fn wait_for(&self, index: usize, least: u64) -> Outcome {
        let end = cpu::tsc() + PATIENCE * cpu::khz();
        while self.mail()?.from(index) < least {
            let info = self.info()?;
            if info.state & state::SHUTDOWN != 0 && self.mail()?.from(index) < least {
                self.verdict(&info)?;
                return Err(failure!("the child ended before its word {index} was {least}"));
            }
            if cpu::tsc() > end {
                return Err(failure!("the child did not get to its word {index} = {least}"));
            }
            let _ = call(H::SchedYield {});
        }
        Ok(())
    }

    /// Its own verdict, once it has stopped.
    pub fn verdict(&self, info: &DomainInfo) -> Outcome {
        if info.reason != reason::POWEROFF && info.reason != reason::CRASH {
            return Err(failure!(
                "the child stopped for reason {} code {:#x} at {:#x}",
                info.reason,
                info.code,
                info.fault_rip
            ));
        }
        let mail = self.mail()?;
        match mail.kind.load(core::sync::atomic::Ordering::SeqCst) {
            0 if info.reason == reason::CRASH => Err(failure!("the child crashed")),
            0 => Ok(()),
            1 => Err(Verdict::Skip(mail.text())),
            2 => Err(Verdict::Error(mail.text())),
            _ => Err(Verdict::Failure(mail.text())),
        }
    }

    /// Waits for its end and takes its verdict.
    pub fn finish(&self) -> Outcome {
        let info = self.wait()?;
        self.verdict(&info)
    }

    /// Waits for an end that the core brings about.
    pub fn expect_stop(&self, reason: u32) -> Outcome<DomainInfo> {
        let info = self.wait()?;
        if info.reason == reason {
            return Ok(info);
        }
        self.verdict(&info)?;
        Err(failure!("the child ended by itself, reason {reason} was expected"))
    }

    /// Destroys it, and says whether that went well.
    pub fn destroy(mut self) -> Outcome {
        self.unmap()?;
        self.gone = true;
        host::destroy(self.id).map_err(|s| failure!("DomainDestroy: {s:?}"))?;
        match host::domain(self.id) {
            Err(Status::NotFound) => Ok(()),
            other => {
                Err(failure!("destroyed, yet DomainInfo answers {:?}", other.map(|i| i.state)))
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.gone {
            // Only when a test ends early: the runner's sweep looks again.
            let _ = self.unmap();
            let _ = host::destroy(self.id);
        }
    }
}

/// Runs `main` in a child and takes its verdict.
pub fn run(main: fn() -> Outcome) -> Outcome {
    let child = Child::new(main)?;
    child.start()?;
    child.finish()?;
    child.destroy()
}

/// The same with several vCPUs.
pub fn run_smp(vcpus: u32, main: fn() -> Outcome) -> Outcome {
    let child = Child::with(&Spec { vcpus, ..Spec::new(main) })?;
    child.start()?;
    child.finish()?;
    child.destroy()
}
