// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations of one guest, without a partner.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::{DOM_SELF, Hypercall as H};
use hv_guest::apic::{self, msr};
use hv_guest::bench::measure;
use hv_guest::hypercall::{call, raw};
use hv_guest::trap::Frame;
use hv_guest::{Outcome, check, cpu, event, ok, smp, trap};

use super::{How, Row};

/// The rows.
pub const ROWS: &[Row] = &[
    Row { name: "loop", how: How::One(nothing) },
    Row { name: "hypercall_null", how: How::One(hypercall_null) },
    Row { name: "hypercall_clock", how: How::One(hypercall_clock) },
    Row { name: "hypercall_unknown", how: How::One(hypercall_unknown) },
    Row { name: "cpuid", how: How::One(cpuid) },
    Row { name: "cpuid_features", how: How::One(cpuid_features) },
    Row { name: "msr_read", how: How::One(msr_read) },
    Row { name: "port_read", how: How::One(port_read) },
    Row { name: "port_write", how: How::One(port_write) },
    Row { name: "event_masked", how: How::One(event_masked) },
    Row { name: "event_pending_self", how: How::One(event_pending) },
    Row { name: "event_delivered_self", how: How::One(event_delivered) },
    Row { name: "timer_set", how: How::One(timer_set) },
    Row { name: "timer_fires", how: How::One(timer_fires) },
    Row { name: "ipi_self", how: How::One(ipi_self) },
    Row { name: "ipi_round_trip", how: How::Smp(2, ipi_round_trip) },
    Row { name: "yield_alone", how: How::One(yield_alone) },
    Row { name: "block_ready", how: How::One(block_ready) },
];

const MANY: u64 = 2000;

fn nothing() -> Outcome {
    measure(MANY, || {
        black_box(());
    });
    Ok(())
}

fn hypercall_null() -> Outcome {
    measure(MANY, || {
        black_box(raw(0, [0; 5]));
    });
    Ok(())
}

/// A call without a short way.
fn hypercall_clock() -> Outcome {
    let (number, args) = H::WallclockGet {}.encode();
    measure(MANY, || {
        black_box(raw(number, args));
    });
    Ok(())
}

fn hypercall_unknown() -> Outcome {
    measure(MANY, || {
        black_box(raw(0xffff, [0; 5]));
    });
    Ok(())
}

fn cpuid() -> Outcome {
    measure(MANY, || {
        black_box(cpu::cpuid(0, 0));
    });
    Ok(())
}

/// A leaf with bits that depend on the vCPU.
fn cpuid_features() -> Outcome {
    measure(MANY, || {
        black_box(cpu::cpuid(1, 0));
    });
    Ok(())
}

fn msr_read() -> Outcome {
    measure(MANY, || {
        black_box(cpu::rdmsr(msr::SPURIOUS));
    });
    Ok(())
}

fn port_read() -> Outcome {
    measure(MANY, || {
        black_box(cpu::port_in(0x60, 1, 0));
    });
    Ok(())
}

fn port_write() -> Outcome {
    measure(MANY, || cpu::port_out(0x80, 1, 0));
    Ok(())
}

/// Two ports of this guest, joined.
fn joined() -> Outcome<(u64, u64)> {
    ok!(event::setup());
    let far = ok!(call(H::EventAlloc { owner: DOM_SELF, remote: DOM_SELF }));
    let near = ok!(call(H::EventBind { remote: DOM_SELF, remote_port: far }));
    Ok((near, far))
}

fn event_masked() -> Outcome {
    let (near, far) = joined()?;
    event::mask(far);
    measure(MANY, || {
        black_box(call(H::EventSend { port: near })).ok();
    });
    Ok(())
}

/// Interrupts are off: the first event stays pending.
fn event_pending() -> Outcome {
    let (near, _) = joined()?;
    measure(MANY, || {
        black_box(call(H::EventSend { port: near })).ok();
    });
    Ok(())
}

/// From the send to the end of the upcall's handler.
fn event_delivered() -> Outcome {
    let (near, far) = joined()?;
    cpu::sti();
    let before = event::seen(far);
    measure(MANY, || {
        black_box(call(H::EventSend { port: near })).ok();
    });
    cpu::cli();
    check!(u64::from(event::seen(far) - before) >= 3 * MANY, "events were lost");
    Ok(())
}

fn timer_set() -> Outcome {
    let far = cpu::tsc() + 60_000 * cpu::khz();
    apic::deadline(0x70, far);
    let mut at = far;
    measure(MANY, || {
        at += 1;
        cpu::wrmsr(msr::DEADLINE, at);
    });
    Ok(())
}

/// Arms it for now, and takes its interrupt.
fn timer_fires() -> Outcome {
    apic::deadline(0x70, 0);
    cpu::sti();
    let before = trap::count(0x70);
    measure(MANY, || {
        let count = trap::count(0x70);
        cpu::wrmsr(msr::DEADLINE, 1);
        while trap::count(0x70) == count {
            core::hint::spin_loop();
        }
    });
    cpu::cli();
    check!(trap::count(0x70) - before >= 3 * MANY, "interrupts were lost");
    Ok(())
}

fn ipi_self() -> Outcome {
    cpu::sti();
    let before = trap::count(0x71);
    measure(MANY, || cpu::wrmsr(msr::SELF_IPI, 0x71));
    cpu::cli();
    check!(trap::count(0x71) - before >= 3 * MANY, "interrupts were lost");
    Ok(())
}

static PINGS: AtomicU64 = AtomicU64::new(0);
static PONGS: AtomicU64 = AtomicU64::new(0);

fn ping(_: &mut Frame) {
    PINGS.fetch_add(1, Ordering::SeqCst);
    apic::ipi(0, 0x73);
}

fn pong(_: &mut Frame) {
    PONGS.fetch_add(1, Ordering::SeqCst);
}

/// To the other vCPU, which halts, and back to this one, which halts too.
fn ipi_round_trip() -> Outcome {
    trap::on(0x72, ping);
    trap::on(0x73, pong);
    check!(
        smp::start(
            1,
            |_| loop {
                cpu::sti_hlt()
            },
            5000
        ),
        "vCPU 1 does not start"
    );
    measure(1000, || {
        let count = PONGS.load(Ordering::SeqCst);
        cpu::cli();
        apic::ipi(1, 0x72);
        while PONGS.load(Ordering::SeqCst) == count {
            cpu::sti_hlt();
            cpu::cli();
        }
    });
    check!(PINGS.load(Ordering::SeqCst) >= 3000, "IPIs were lost");
    Ok(())
}

fn yield_alone() -> Outcome {
    measure(MANY, || {
        black_box(call(H::SchedYield {})).ok();
    });
    Ok(())
}

/// To wait for what is there already.
fn block_ready() -> Outcome {
    let (near, _) = joined()?;
    ok!(call(H::EventSend { port: near }));
    measure(MANY, || {
        black_box(call(H::SchedBlock {})).ok();
    });
    Ok(())
}
