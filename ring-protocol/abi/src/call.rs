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

    32 SchedYield sched_yield() Any
       "Lets other vCPUs run first.";
    33 SchedBlock sched_block() Any
       "Waits until an interrupt is pending for the caller, whether its IF lets it in or not: with IF clear it can look for work and then wait without missing any.";
    34 SchedShutdown sched_shutdown(reason, code) Any
       "Stops the caller's domain for a `ShutdownReason`; the control domain is told. `code` is kept for it. Does not return.";
    35 NotifyAndBlock notify_and_block(port) Any
       "EventSend, then SchedBlock, in one exit.";

    48 VcpuSetContext vcpu_set_context(domain, vcpu, gpa) Control
       "Sets every register of a stopped or paused vCPU from a `VcpuContext`; its `online` field says whether it runs.";
    49 VcpuGetContext vcpu_get_context(domain, vcpu, gpa) Control
       "Writes the `VcpuContext` of a vCPU of a paused or stopped domain.";
    50 VcpuInfo vcpu_info(domain, vcpu, gpa) Control
       "Writes a `VcpuInfo`: state, CPU, times, exits.";
    51 VcpuAffinity vcpu_affinity(domain, vcpu, cpus) Control
       "Restricts a vCPU to the CPUs whose bits are set in `cpus` (CPU 0 is bit 0). Refused for the control domain's vCPUs.";

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
        assert_eq!(Hypercall::decode(4, [0; 5]), None);
    }
}
