// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypercall table: one row has a call's number, name, arguments, caller
//! class and manual text. Decoders, encoders, the C header and the manual
//! pages all come from these rows and from nowhere else.

/// Who may make a call. The core asks its one access module; this is the
/// class the table promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Every domain, for itself.
    Any,
    /// Only the control domain.
    Control,
}

/// One row of the table, as data for generators and traces.
#[derive(Clone, Copy, Debug)]
pub struct HypercallInfo {
    /// The value of `rax`.
    pub number: u32,
    /// Name in snake case, as in the C header.
    pub name: &'static str,
    /// Names of the arguments, in register order `rdi rsi rdx r10 r8`.
    pub args: &'static [&'static str],
    /// Who may call.
    pub caller: Caller,
    /// What it does, its value and its refusals.
    pub doc: &'static str,
}

macro_rules! hypercalls {
    ($($number:literal $variant:ident $name:ident($($arg:ident),*) $caller:ident $doc:literal;)*) => {
        /// A decoded call: the arguments are still the caller's allegations.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Hypercall {
            $(
                #[doc = $doc]
                #[allow(missing_docs)]
                $variant { $($arg: u64),* },
            )*
        }

        impl Hypercall {
            /// Decodes a number and the five argument registers.
            pub fn decode(number: u64, regs: [u64; 5]) -> Option<Self> {
                match number {
                    $($number => {
                        #[allow(unused_mut, unused_variables)]
                        let mut regs = regs.into_iter();
                        Some(Self::$variant { $($arg: regs.next()?),* })
                    })*
                    _ => None,
                }
            }

            /// The number and argument registers that make this call.
            pub fn encode(self) -> (u64, [u64; 5]) {
                match self {
                    $(Self::$variant { $($arg),* } => {
                        #[allow(unused_mut)]
                        let mut regs = [0u64; 5];
                        let args: &[u64] = &[$($arg),*];
                        for (slot, value) in regs.iter_mut().zip(args) {
                            *slot = *value;
                        }
                        ($number, regs)
                    })*
                }
            }

            /// The table's row of this call.
            pub fn info(self) -> &'static HypercallInfo {
                match self {
                    $(Self::$variant { .. } => {
                        const ROW: &HypercallInfo = &HypercallInfo {
                            number: $number,
                            name: stringify!($name),
                            args: &[$(stringify!($arg)),*],
                            caller: Caller::$caller,
                            doc: $doc,
                        };
                        ROW
                    })*
                }
            }
        }

        /// Whoever can make a call has a method for each row: the wrappers
        /// of the table, so that none is written by hand.
        pub trait Door {
            /// What a refused call gives.
            type Error;

            /// Makes a call: its value, or why there is none.
            fn make(&self, call: Hypercall) -> Result<u64, Self::Error>;

            $(
                #[doc = $doc]
                fn $name(&self $(, $arg: u64)*) -> Result<u64, Self::Error> {
                    self.make(Hypercall::$variant { $($arg),* })
                }
            )*
        }

        /// Every row, in order of number.
        pub const HYPERCALLS: &[HypercallInfo] = &[$(HypercallInfo {
            number: $number,
            name: stringify!($name),
            args: &[$(stringify!($arg)),*],
            caller: Caller::$caller,
            doc: $doc,
        }),*];
    };
}

hypercalls! {
    0  Version version() Any
       "Value: the interface's version, major << 16 | minor.";
    1  ConsoleWrite console_write(gpa, len) Any
       "Appends up to 256 bytes of text to the core's log, under the caller's name and rate-limited. Value: bytes taken.";
    2  WallclockGet wallclock_get() Any
       "Value: nanoseconds since 1970-01-01 UTC now, or 0 while the control domain has not set it.";
    3  WallclockSet wallclock_set(nanoseconds) Control
       "Tells the core the time of day, in nanoseconds since 1970-01-01 UTC.";
    4  Features features() Any
       "Value: the bits that CPUID leaf 0x40000001 tells in ebx.";

    16 EventWords event_words(gpa, log2_ports) Any
       "Registers the port words: 2^log2_ports 32-bit words in page-aligned memory of the caller, which stays the core's to write until the domain ends. log2_ports is 10 to 14. Once per domain; State when done before.";
    17 EventRing event_ring(vcpu, priority, gpa, log2_slots) Any
       "Registers a ring of 2^log2_slots 32-bit slots for one vCPU and priority (0 urgent, 1 normal) in page-aligned memory. It must have at least as many slots as there are port words, so that it cannot overflow.";
    18 EventUpcall event_upcall(vcpu, vector) Any
       "Chooses the interrupt vector (32 to 255) by which the vCPU learns that a ring of its has a new entry.";
    19 EventAlloc event_alloc(owner, remote) Any
       "Makes a port of domain `owner` (DOM_SELF, or any domain for the control domain) that domain `remote` may bind to. Value: the port.";
    20 EventBind event_bind(remote, remote_port) Any
       "Makes a port of the caller and joins it with a port of `remote` that was made for the caller. Value: the port.";
    21 EventBindVirq event_bind_virq(virq, vcpu) Any
       "Makes a port that the core raises for the virtual interrupt `virq`. Value: the port.";
    22 EventBindIpi event_bind_ipi(vcpu) Any
       "Makes a port that raises itself on `vcpu` when sent. Value: the port.";
    23 EventSend event_send(port) Any
       "Raises the peer of a joined port, or an IPI port itself. To a port already pending this is one atomic OR.";
    24 EventClose event_close(port) Any
       "Frees a port; a joined peer turns unbound and waits for a new partner of the same domain.";
    25 EventTarget event_target(port, vcpu, priority) Any
       "Chooses the vCPU and the ring on which the port's events arrive from now on.";
    26 EventUnmask event_unmask(port) Any
       "Puts a port that is pending and no longer masked into its ring. Call after clearing MASKED when PENDING is seen.";
    27 EventStatus event_status(owner, port, gpa) Any
       "Writes an `EventStatus` for a port of the caller or, for the control domain, of any domain.";
    28 EventReset event_reset(domain) Any
       "Closes all ports of a domain (DOM_SELF, or any guest for the control domain), as a kernel does that starts over, in bounded steps: Again until done. Words and rings stay registered.";

    32 SchedYield sched_yield() Any
       "Lets other vCPUs run first.";
    33 SchedBlock sched_block() Any
       "Waits until an interrupt is pending for the caller, whether its IF lets it in or not: with IF clear it can look for work and then wait without missing any.";
    34 SchedShutdown sched_shutdown(reason, code) Any
       "Stops the caller's domain for a `ShutdownReason`; the control domain is told. `code` is kept for it. Does not return.";
    35 NotifyAndBlock notify_and_block(port) Any
       "EventSend, then SchedBlock, in one exit.";
    36 SchedPoll sched_poll(gpa, count, timeout_ns) Any
       "Waits until one of `count` ports (32-bit numbers at `gpa`, at most 64) is pending, masked or not, until an interrupt is pending for the caller, or until the time is over (0: no limit). It may also return without a reason: look, and poll again. State before EventWords.";
    37 SchedWatchdog sched_watchdog(timeout_ms) Any
       "Stops the caller's domain with the reason WATCHDOG unless it makes this call again within the time, at most an hour. 0 ends that.";

    48 VcpuSetContext vcpu_set_context(domain, vcpu, gpa) Control
       "Sets every register of a stopped or paused vCPU from a `VcpuContext`; its `online` field says whether it runs.";
    49 VcpuGetContext vcpu_get_context(domain, vcpu, gpa) Control
       "Writes the `VcpuContext` of a vCPU of a paused or stopped domain.";
    50 VcpuInfo vcpu_info(domain, vcpu, gpa) Control
       "Writes a `VcpuInfo`: state, CPU, times, exits.";
    51 VcpuAffinity vcpu_affinity(domain, vcpu, cpus) Control
       "Restricts a vCPU to the CPUs whose bits are set in `cpus` (CPU 0 is bit 0). Refused for the control domain's vCPUs.";
    52 VcpuStart vcpu_start(domain, vcpu) Any
       "Lets an offline vCPU of the caller (DOM_SELF) or, for the control domain, of any guest run on from the registers it has. State when it is not offline.";
    53 VcpuStop vcpu_stop(domain, vcpu) Any
       "Takes a vCPU of the caller (DOM_SELF) or, for the control domain, of any guest offline, with its registers kept, when it comes out of its guest next. State when it is offline.";
    54 VcpuRunState vcpu_run_state(domain, vcpu, gpa) Any
       "Writes a `VcpuRunState` of a vCPU of the caller (DOM_SELF) or, for the control domain, of any domain: state, CPUs, time run and time kept waiting.";
    55 VcpuAffinitySoft vcpu_affinity_soft(domain, vcpu, cpus) Control
       "Says which CPUs a vCPU should run on where it has the choice. It still runs on others that VcpuAffinity allows rather than wait. Refused for the control domain's vCPUs.";

    64 DomainCreate domain_create(gpa) Control
       "Makes a paused domain without memory from a `DomainConfig`. Value: its number.";
    65 DomainDestroy domain_destroy(domain) Control
       "Stops a domain for good and gives back what it had, in bounded steps: Again until done. Memory that is still mapped elsewhere returns with its last mapping.";
    66 DomainPause domain_pause(domain) Control
       "Stops the domain's vCPUs; returns when none runs. Pauses count.";
    67 DomainUnpause domain_unpause(domain) Control
       "Takes one pause back.";
    68 DomainInfo domain_info(at_or_after, gpa) Any
       "Writes a `DomainInfo` of the first domain whose number is `at_or_after` or higher; NotFound when there is none. Only the control domain sees others than itself.";
    69 DomainShutdown domain_shutdown(domain, reason) Control
       "Asks a domain to shut down: raises its Shutdown virtual interrupt with the reason.";
    70 ShutdownRequest shutdown_request() Any
       "Value: the reason of the latest DomainShutdown to the caller, + 1, or 0 when there was none. Reading clears it.";
    71 DomainWeight domain_weight(domain, weight, cap) Control
       "Sets the share of CPU time (weight 1 to 65535, 256 is usual) and its upper limit in percent of one CPU (0: none).";
    72 DomainLimit domain_limit(domain, limit, value) Control
       "Sets a limit of a domain (one of `limit`: ports, grants, mappings, pages) and answers it; a value of 2^64-1 only asks. What is over a lowered limit stays. State for grants once the table is registered.";
    73 DomainCounters domain_counters(domain, gpa) Any
       "Writes the `DomainCounters` of the caller (DOM_SELF) or, for the control domain, of any domain.";

    80 MemoryPopulate memory_populate(domain, gpa, pages) Control
       "Gives a domain fresh, zeroed memory at `gpa`, in 2 MiB pieces where aligned. At most 512 pages a call are done; value: pages done, at least one: go on from there. A refusal means that this call did nothing.";
    81 MemoryRelease memory_release(gpa, pages) Any
       "Gives pages of the caller's own back to the host. Value: pages done, at most 512 and at least one: go on from there. Busy when the first is mapped elsewhere.";
    82 MemoryMap memory_map(domain, gpa, pages, out_gpa) Control
       "Opens a domain's memory to the caller, at its machine address, as far as it is machine-contiguous, at most 512 pages. Writes a `ForeignRun`. Every page is counted; MemoryUnmap takes it back.";
    83 MemoryUnmap memory_unmap(machine, pages) Control
       "Ends a mapping made by MemoryMap: `machine` is the machine address, at most 512 pages.";
    84 MemoryPool memory_pool(index, gpa) Control
       "Writes a `MemoryRange`: the machine ranges guests' memory comes from. NotFound past the last.";
    85 MemoryClaim memory_claim(domain, pages) Control
       "Sets pages of the pool aside for a domain, in place of an earlier claim of it: populating draws on them, nobody else can. 0 gives the claim up. NoMemory when the pool has not so many that are free and unclaimed.";
    86 MemoryQuery memory_query(domain, gpa, out_gpa) Any
       "Writes a `MemoryInfo` of the page at `gpa` of the caller (DOM_SELF) or, for the control domain, of any domain. NotFound when nothing is there. Machine addresses are told to the control domain only.";
    87 MemoryIncrease memory_increase(gpa, pages) Any
       "Gives the caller fresh, zeroed memory where it has none, as MemoryPopulate does, up to its limit of pages: the way back from MemoryRelease. Value: pages done, at most 512 and at least one.";

    96 HostInfo host_info(gpa) Control
       "Writes a `HostInfo`: CPUs, clock, memory and every counter of the core.";
    97 LogRead log_read(cursor, gpa, len) Control
       "Copies log text from position `cursor` on, at most 4096 bytes. Value: next cursor << 16 | bytes. A cursor too old is moved to the oldest text kept.";
    98 TraceRead trace_read(domain, vcpu, gpa) Control
       "Writes an `ExitTrace`: the latest exits of a vCPU, oldest first.";
    99 Audit audit() Control
       "Checks every frame's state, owner and references against all tables. Value: number of discrepancies; each is a line in the log.";
    100 HostPower host_power(action) Control
       "Restarts the machine (action 1) or stops all CPUs for good (action 0).";
    101 DebugKey debug_key(key) Control
       "Writes the core's state into the log: one of `debug_key` (domains, queues, ports, grants, memory). Value: lines written.";
    102 Batch batch(gpa, count) Control
       "Makes up to 64 calls in the order of a table of `BatchEntry`, each with a status and value of its own. Calls that wait or stop the caller, and Batch, are Invalid there. It ends early after a millisecond. Value: entries done, at least one: go on from there.";

    112 GrantTable grant_table(gpa, log2_entries) Any
       "Registers the grant table: 2^log2_entries entries of 32 bytes (`GrantEntry`) in page-aligned memory of the caller, which are zeroed. log2_entries is 7 to 14. Once per domain; State when done before. Limit when the domain may have fewer.";
    113 GrantMap grant_map(gpa, count) Any
       "Maps pages of grants made to the caller, by up to 64 operations (`GrantMap`) with a status each: for a guest where it says, for the control domain at their machine address as far as they are machine-contiguous. Mapped pages can't be executed by a guest. About 512 pages a call are done. Value: operations done, at least one: go on from there.";
    114 GrantUnmap grant_unmap(gpa, count) Any
       "Ends mappings of the caller by up to 64 operations (`GrantUnmap`). Value: operations done, at least one: go on from there.";
    115 GrantCopy grant_copy(gpa, count) Any
       "Copies bytes between grants made to the caller and its own memory, or from grant to grant, by up to 64 operations (`GrantCopy`) with a status each. An operation that is refused has copied nothing. About 256 KiB a call are done. Value: operations done, at least one: go on from there.";
    116 GrantQuery grant_query(domain, grant, gpa) Any
       "Writes a `GrantInfo` of a grant of the caller (DOM_SELF), or made to the caller; the control domain may ask for any.";
    117 GrantRevoke grant_revoke(domain, grant, force) Any
       "Clears an entry of the caller (DOM_SELF) or, for the control domain, of any domain. Busy while it is in use: it is cleared, but its memory is not free yet. With force 1 the control domain ends the uses, in bounded steps: Again until done; grant 0xffffffff means all of the domain's then.";
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn rows_are_in_order_and_round_trip() {
        for pair in HYPERCALLS.windows(2) {
            assert!(pair[0].number < pair[1].number, "{}", pair[1].name);
        }
        for row in HYPERCALLS {
            let regs = [11, 22, 33, 44, 55];
            let call = Hypercall::decode(row.number.into(), regs).unwrap();
            assert_eq!(call.info().name, row.name);
            let (number, back) = call.encode();
            assert_eq!(number, u64::from(row.number));
            assert_eq!(back[..row.args.len()], regs[..row.args.len()]);
            assert!(back[row.args.len()..].iter().all(|r| *r == 0));
        }
        assert_eq!(Hypercall::decode(u64::MAX, [0; 5]), None);
        assert_eq!(Hypercall::decode(5, [0; 5]), None);
    }
}
