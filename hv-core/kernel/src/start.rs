// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the boot loader's hand-over to the loops of all CPUs. What can't
//! work stops here, with one message that says why and what to do.

use crate::control::{build, layout};
use crate::domain::run;
use crate::memory::frames;
use crate::options::{OPTIONS, Options, Problem};
use crate::{clock, logging, per_cpu, vcpu_loop};
use core::sync::atomic::{AtomicBool, Ordering};
use hv_hal::addr::CpuId;
use hv_hal::boot::{self, BootInfo, RegionKind};
use hv_hal::exit::Vendor;
use hv_hal::{cpu, power, serial, time, vcpu};
use spin::Once;

/// The control domain is made: the other CPUs may begin.
static READY: AtomicBool = AtomicBool::new(false);
static VENDOR: Once<Vendor> = Once::new();

/// The virtualization in use, once it is known.
pub fn vendor() -> Option<Vendor> {
    VENDOR.get().copied()
}

/// Stops the machine with a message.
fn give_up(why: &str) -> ! {
    log::error!("the core can't start: {why}");
    cpu::halt_all()
}

/// Starts everything; called on the boot CPU, by the image.
pub fn start(boot: &'static BootInfo) -> ! {
    clock::start();
    let mut malformed = None;
    let options = Options::parse(boot.cmdline, &mut |problem| {
        if let Problem::Malformed(word, form) = problem {
            malformed.get_or_insert((word, form));
        }
    });
    // Port 0 is none, for the last words as well.
    serial::init(options.console.port.unwrap_or(0), options.console.baud);
    power::restart_on_panic(!options.noreboot);
    vcpu::set_console_ports(options.console.port);
    logging::install(options.loglevel);
    log::info!("hv-core {} ({})", env!("CARGO_PKG_VERSION"), boot.loader);
    log::info!("options \"{}\"", boot.cmdline);
    Options::parse(boot.cmdline, &mut |problem| {
        if let Problem::Unknown(word) = problem {
            log::warn!("unknown option \"{word}\" ignored; known are:");
            OPTIONS.iter().for_each(|o| log::warn!("  {} {}", o.name, o.form));
        }
    });
    if let Some((word, form)) = malformed {
        log::error!("option \"{word}\" must have the form {form}");
        give_up("an option of its command line is malformed");
    }

    let vendor = match vcpu::probe(options.vendor, options.apic) {
        Ok(vendor) => *VENDOR.call_once(|| vendor),
        Err(why) => give_up(why),
    };
    let cpus = boot::start_cpus(other_cpu);
    per_cpu::init();
    let apic = vcpu::assist();
    log::info!("{cpus} CPUs, {vendor:?}, TSC {} kHz, APIC parts: {apic}", time::khz());
    if let Err(why) = vcpu::enable_cpu() {
        give_up(why);
    }

    frames::init();
    let layout = match layout::split(boot, options.dom0_mem) {
        Ok(layout) => layout::commit(layout),
        Err(why) => give_up(why),
    };
    crate::exit::memory::note_ram(
        boot.memory
            .iter()
            .filter(|r| r.kind == RegionKind::Ram)
            .map(|r| (r.start, r.end))
            .collect(),
    );
    log::info!(
        "memory: {} MiB, for guests {} MiB, core {} KiB",
        layout::bytes(&layout.ram) >> 20,
        layout::bytes(&layout.pool) >> 20,
        layout::bytes(&layout.core) >> 10
    );

    let wanted = options.dom0_max_vcpus.unwrap_or(cpus);
    let vcpus = wanted.min(cpus).min(hv_abi::MAX_VCPUS as u32);
    let control = match build::build(boot, layout, vcpus, vcpus < cpus) {
        Ok(control) => control,
        Err(why) => give_up(why),
    };
    if run::unpause(&control).is_err() {
        give_up("the control domain can't be let run");
    }
    READY.store(true, Ordering::SeqCst);
    vcpu_loop::run_forever(CpuId(0))
}

/// Where the other CPUs begin.
fn other_cpu(id: CpuId) -> ! {
    while !READY.load(Ordering::SeqCst) {
        cpu::relax();
    }
    if let Err(why) = vcpu::enable_cpu() {
        log::error!("CPU {} stays off: {why}", id.0);
        cpu::halt_all();
    }
    vcpu_loop::run_forever(id)
}
