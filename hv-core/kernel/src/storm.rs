// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random exits of all kinds from several domains on several CPUs, over the
//! scripted machine: the vCPUs run programs ([`Program`]) that take what they
//! do next from a tape of bytes, the CPUs run the core's own loop. After each
//! round everything is destroyed, the audit must find nothing, and all frames
//! must be back.
//!
//! [`run`] makes rounds from a seed with a thread a CPU; [`replay`] plays one
//! tape on one CPU, for a fuzzer that makes the tapes.
//!
//! Length: what a program may do and the rounds around it belong together.
#![allow(clippy::indexing_slicing, reason = "a test")]

mod progress;
mod tape;

pub use tape::{Made, Seeded, Tape};

use crate::domain::{Domain, run as domain_run, table};
use crate::memory::{foreign, frames};
use crate::testing::{World, world};
use crate::vcpu::signal;
use crate::{audit, logging, per_cpu, sched, vcpu_loop};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::vcpu::{run_state, segment};
use hv_abi::{HYPERCALLS, HypercallInfo};
use hv_hal::addr::CpuId;
use hv_hal::exit::{Exit, MemoryAccess, PortAccess, gpr};
use hv_hal::fake::machine;
use hv_hal::fake::vcpu::Program;
use hv_hal::mem;
use progress::Progress;
use std::sync::{Arc, Weak};

/// CPUs of the machine; each is a thread.
pub const CPUS: u32 = 2;
/// Guests that a round begins with.
const GUESTS: u32 = 3;
const GUEST_VCPUS: u32 = 2;
const GUEST_PAGES: u64 = 64;
/// Exits of each CPU in a round.
const ROUND: u64 = 20_000;

/// One vCPU's program.
struct Mind<T> {
    tape: T,
    domain: Weak<Domain>,
    control: bool,
    exits: Arc<Exits>,
    /// The tape has ended.
    over: bool,
}

/// Exits made, and how many there shall be.
struct Exits {
    made: AtomicU64,
    calls: AtomicU64,
    most: u64,
}

impl Exits {
    fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { made: AtomicU64::new(0), calls: AtomicU64::new(0), most })
    }

    fn over(&self) -> bool {
        self.made.load(Ordering::Relaxed) >= self.most
    }
}

impl<T: Tape> Mind<T> {
    fn word(&mut self) -> u64 {
        let word = self.tape.word();
        self.over |= word.is_none();
        word.unwrap_or(0)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.word() >> 16) % limit
    }

    /// An argument: mostly near something that means something.
    fn argument(&mut self) -> u64 {
        match self.below(12) {
            0 => self.word(),
            1 => u64::MAX - self.below(8),
            2 => 0xffff,
            3..=5 => self.below(5),
            6 => self.below(32) << 12,
            7 => (self.below(0x40) << 12) + self.below(16) * 8,
            8 => 10 + self.below(5),
            9 => self.below(1024),
            10 => 32 + self.below(224),
            _ => (0x400 + self.below(0x2000)) << 12,
        }
    }

    /// An address of the caller's, or near it.
    fn address(&mut self) -> u64 {
        let (first, pages) = if self.control { (16, 512) } else { (0, GUEST_PAGES + 8) };
        let page = (first + self.below(pages)) << 12;
        match self.below(4) {
            0 => page + self.below(0x1000),
            1 => page + 0xff8,
            _ => page,
        }
    }

    fn call(&mut self, row: &HypercallInfo, gprs: &mut [u64; 16]) -> Exit {
        let mut args = [0; 5].map(|_: u64| self.argument());
        for (value, name) in args.iter_mut().zip(row.args) {
            if name.contains("gpa") && self.below(8) != 0 {
                *value = self.address();
            }
        }
        // What there would soon be nothing left after is done less often.
        // A control domain's watchdog ends the machine, and with it the round.
        let drastic =
            ["domain_destroy", "domain_pause", "sched_shutdown", "sched_watchdog", "vcpu_stop"];
        let drastic = drastic.contains(&row.name);
        // Restarting the machine is what it says.
        let ends = row.name == "host_power" || self.control && row.name == "sched_shutdown";
        let number = match self.below(64) {
            0 => self.word() | 1 << 20,
            _ if ends || drastic && self.below(64) != 0 => 0,
            _ => row.number.into(),
        };
        gprs[gpr::RAX] = number;
        let regs = [gpr::RDI, gpr::RSI, gpr::RDX, gpr::R10, gpr::R8];
        regs.into_iter().zip(args).for_each(|(reg, value)| gprs[reg] = value);
        Exit::Hypercall
    }

    /// A guest writes into its own memory: port words and rings among it.
    fn scribble(&mut self) -> Exit {
        let (at, value) = (self.address() & !3, self.argument() as u32);
        let frame = self.domain.upgrade().and_then(|d| {
            let frame = d.memory.frame(at)?;
            frames::is_owned_by(frame, d.id).then_some(frame)
        });
        if let Some(frame) = frame {
            mem::word(frame, (at & 0xfff) as usize).store(value, Ordering::Relaxed);
        }
        Exit::Handled
    }

    fn msr(&mut self) -> u32 {
        match self.below(8) {
            0 => self.word() as u32,
            1 => 0xc000_0080 + self.below(8) as u32,
            2 => 0x6e0,
            3 => self.below(0x300) as u32,
            4 => 0xc001_0000 + self.below(0x200) as u32,
            _ => 0x800 + self.below(0x41) as u32,
        }
    }

    fn exit(&mut self, gprs: &mut [u64; 16]) -> Exit {
        let what = self.below(64);
        match what {
            0..=39 => {
                let row = self.below(HYPERCALLS.len() as u64) as usize;
                self.call(&HYPERCALLS[row], gprs)
            }
            40..=44 => self.scribble(),
            45 | 46 => Exit::ReadMsr(self.msr()),
            47..=50 => {
                let index = self.msr();
                let value = match self.below(3) {
                    // A command to the APIC, a moment of the clock, anything.
                    0 => {
                        self.below(0x100)
                            | self.below(16) << 8
                            | self.below(4) << 18
                            | self.below(4) << 32
                    }
                    1 => machine::with(|m| m.now) + self.below(1 << 24),
                    _ => self.argument(),
                };
                Exit::WriteMsr(index, value)
            }
            51..=53 => {
                gprs[gpr::RAX] = match self.below(3) {
                    0 => self.word(),
                    1 => 0x4000_0000 + self.below(8),
                    _ => self.below(2) << 31 | self.below(0x24),
                };
                gprs[gpr::RCX] = self.argument();
                Exit::Cpuid
            }
            54 => Exit::Port(PortAccess {
                port: self.word() as u16,
                size: 1 << self.below(3),
                write: self.below(2) == 0,
                string: self.below(8) == 0,
            }),
            // Ends a guest: seldom. For the control domain it opens devices.
            55 if self.control || self.below(1024) == 0 => Exit::Memory(MemoryAccess {
                gpa: match self.below(2) {
                    0 => 0xfe00_0000 + (self.below(0x1000) << 12),
                    _ => self.argument() & 0xffff_ffff,
                },
                write: self.below(2) == 0,
                fetch: self.below(4) == 0,
                present: self.below(4) == 0,
            }),
            56 => Exit::Exception { vector: [1, 17][self.below(2) as usize], error: None },
            57 => Exit::Xsetbv(self.below(3) as u32, self.argument()),
            58 => Exit::Pause,
            59 => Exit::Window,
            60 => Exit::Halt,
            61 => {
                let (vector, level) = (0x30 + self.below(0xc0) as u8, self.below(3) == 0);
                machine::with(|m| m.interrupts.push_back((vector, level)));
                Exit::Interrupt
            }
            62 => Exit::Refused("an instruction"),
            _ if self.control => Exit::CacheFlush,
            _ => match self.below(4096) {
                0 => Exit::Shutdown,
                1 => Exit::Failed("nothing", self.word()),
                2 => Exit::Unknown(self.word()),
                _ => Exit::CacheFlush,
            },
        }
    }
}

/// The clock of all CPUs; each machine has only a thread's.
static CLOCK: AtomicU64 = AtomicU64::new(1_000_000);

fn tick() {
    machine::with(|m| {
        let common = CLOCK.fetch_max(m.now, Ordering::Relaxed);
        m.now = m.now.max(common) + 50;
        // Nobody looks at these.
        m.kicks.clear();
        m.ended.clear();
        m.serial.clear();
    });
}

/// Gives each vCPU of a domain its program, by a tape of its own. `number` is
/// the domain's in the round: its id depends on what was before.
fn mind<T: Tape + 'static>(
    domain: &Arc<Domain>,
    number: u32,
    exits: &Arc<Exits>,
    tape: &impl Fn(u64) -> T,
) {
    for vcpu in &domain.vcpus {
        let mut guard = vcpu.core();
        let Some(core) = guard.as_mut() else { continue };
        let mut mind = Mind {
            tape: tape(u64::from(number) << 8 | u64::from(vcpu.index)),
            domain: Arc::downgrade(domain),
            control: domain.is_control(),
            exits: exits.clone(),
            over: false,
        };
        core.waits_for_sipi = false;
        core.hw.program = Some(Program(Box::new(move |state| {
            tick();
            if mind.over || mind.exits.over() {
                return Exit::Halt;
            }
            mind.exits.made.fetch_add(1, Ordering::Relaxed);
            // Mostly in the kernel, where calls are made from.
            let user = mind.below(32) == 0;
            state.segments[segment::SS].rights = if user { 0xf3 } else { 0x93 };
            let exit = mind.exit(&mut state.gpr);
            if exit == Exit::Hypercall && !user {
                mind.exits.calls.fetch_add(1, Ordering::Relaxed);
            }
            exit
        })));
    }
}

/// What comes from outside now and then: devices' interrupts, and whatever
/// wakes a vCPU that waits.
fn nudge(turn: u64, domains: &[Weak<Domain>]) {
    if !turn.is_multiple_of(8) {
        return;
    }
    let vector = (0x30 + turn % 0xc0) as u8;
    machine::with(|m| m.interrupts.push_back((vector, turn.is_multiple_of(3))));
    for domain in domains.iter().filter_map(Weak::upgrade) {
        let index = (turn / 8) as usize % domain.vcpus.len().max(1);
        if let Some(vcpu) = domain.vcpus.get(index) {
            vcpu.post(vector);
            sched::notify(&domain, index);
        }
        if turn.is_multiple_of(64) {
            for (index, vcpu) in domain.vcpus.iter().enumerate() {
                // Its TPR may let no interrupt in, or it had an INIT.
                vcpu.signals.fetch_or(signal::NMI | signal::SIPI, Ordering::SeqCst);
                sched::notify(&domain, index);
            }
        }
        // What the storm paused shall run again.
        if turn.is_multiple_of(256) && !domain.is_control() {
            let _ = domain_run::unpause(&domain);
        }
    }
}

/// One CPU's loop, until `over` or until the core would end the machine.
fn cpu(id: u32, domains: &[Weak<Domain>], over: &dyn Fn() -> bool) {
    machine::with(|m| (m.current, m.cpus) = (id, CPUS));
    let Some(own) = per_cpu::of(CpuId(id)) else { return };
    let mut turn = u64::from(id) * 4;
    while !over() && !domain_run::is_over() {
        nudge(turn, domains);
        turn += 1;
        vcpu_loop::once(CpuId(id), own);
    }
}

/// Makes guests and lets all domains run by their tapes.
fn begin<T: Tape + 'static>(
    world: &World,
    exits: &Arc<Exits>,
    tape: impl Fn(u64) -> T,
) -> Vec<Weak<Domain>> {
    machine::with(|m| (m.current, m.cpus) = (0, CPUS));
    let mut domains = vec![Arc::downgrade(&world.control)];
    for number in 1..=GUESTS {
        let guest = world.guest(GUEST_VCPUS, GUEST_PAGES);
        mind(&guest, number, exits, &tape);
        world.start(&guest);
        domains.push(Arc::downgrade(&guest));
    }
    mind(&world.control, 0, exits, &tape);
    world.control.pauses.store(0, Ordering::SeqCst);
    for (index, vcpu) in world.control.vcpus.iter().enumerate() {
        vcpu.set_state(run_state::STOPPED);
        sched::wake(&world.control, index, run_state::STOPPED);
    }
    domains
}

/// Ends a round: no vCPU runs any more, no guest is left, nothing is mapped.
fn end(world: &World, seed: u64) {
    table::each(&mut |domain| {
        domain.pauses.fetch_add(1, Ordering::SeqCst);
    });
    for id in 0..CPUS {
        machine::with(|m| (m.current, m.cpus) = (id, CPUS));
        let Some(own) = per_cpu::of(CpuId(id)) else { continue };
        // Each comes out of the queues, sees that it may not run, and stops.
        while own.ready.load(Ordering::SeqCst) > 0 {
            vcpu_loop::once(CpuId(id), own);
        }
    }
    machine::with(|m| m.current = 0);
    for core in world.control.vcpus.iter().filter_map(|v| v.core().take()) {
        drop(core);
    }
    destroy_guests();
    for page in 0..frames::count() {
        while foreign::unmap(&world.control, page << 12, 1).is_ok() {}
    }
    assert_eq!(audit::run(), 0, "seed {seed:#x}: discrepancies in the frame database");
}

/// Destroys all guests, as the control domain would.
fn destroy_guests() {
    table::each(&mut |domain| {
        if !domain.is_control() {
            while crate::domain::destroy::step(domain) == Err(hv_abi::Status::Again) {}
        }
    });
}

/// The round's seed, for what a panic says.
static SEED: AtomicU64 = AtomicU64::new(0);

/// What a run has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Exits handled.
    pub exits: u64,
    /// Hypercalls among them.
    pub calls: u64,
    /// Rounds.
    pub rounds: u64,
}

/// Rounds from `seed` on, which is the first round's own, until `enough` says so of what is done. `report`
/// hears each round's seed before it begins.
pub fn run(seed: u64, enough: &dyn Fn(Done) -> bool, report: &dyn Fn(u64, Done)) -> Done {
    logging::install(log::LevelFilter::Info);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let seed = SEED.load(Ordering::Relaxed);
        std::eprintln!("storm: in the round of seed {seed:#x}");
        before(info);
    }));
    let mut done = Done::default();
    while !enough(done) {
        let seed = match done.rounds {
            0 => seed,
            n => Seeded::new(seed.wrapping_add(n << 1)).word().unwrap_or(0),
        };
        SEED.store(seed, Ordering::Relaxed);
        report(seed, done);
        let exits = round(seed);
        done.exits += exits.made.load(Ordering::Relaxed);
        done.calls += exits.calls.load(Ordering::Relaxed);
        done.rounds += 1;
    }
    done
}

/// One round; the exits it made.
fn round(seed: u64) -> Arc<Exits> {
    let world = world();
    let exits = Exits::new(ROUND * u64::from(CPUS));
    let domains = begin(&world, &exits, |number| Seeded::new(seed ^ number << 32));
    let progress = Progress::new();
    std::thread::scope(|scope| {
        for id in 0..CPUS {
            let (exits, progress, domains) = (&exits, &progress, &domains);
            scope.spawn(move || {
                cpu(id, domains, &|| {
                    progress.turn(id, exits.made.load(Ordering::Relaxed), seed);
                    exits.over()
                });
            });
        }
    });
    end(&world, seed);
    exits
}

/// Plays one tape on one CPU.
pub fn replay(bytes: &[u8]) {
    let world = world();
    let exits = Exits::new(u64::MAX);
    let tape = Made::new(bytes);
    let domains = begin(&world, &exits, |_| tape.clone());
    // Idle moments read no tape.
    let turns = AtomicU64::new(0);
    let most = bytes.len() as u64 * 4 + 64;
    cpu(0, &domains, &|| tape.is_over() || turns.fetch_add(1, Ordering::Relaxed) > most);
    end(&world, 0);
}
