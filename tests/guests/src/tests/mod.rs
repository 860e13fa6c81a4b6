// SPDX-License-Identifier: MIT OR Apache-2.0
//! All behaviours, in the order they run: each has a file with this name.

use crate::runner::Test;

macro_rules! tests {
    ($($name:ident)*) => {
        $(pub mod $name;)*

        /// All of them.
        pub static TESTS: &[Test] =
            &[$(Test { name: stringify!($name), run: $name::run }),*];
    };
}

tests! {
    hypercall_version
    hypercall_registers
    hypercall_unknown
    hypercall_user
    hypercall_other_vendor
    denied_calls
    console_write
    log_and_trace

    event_ipi
    event_interdomain
    event_arguments
    event_limit
    event_close_rebind
    event_priority
    event_early
    event_hostile_words
    event_between_guests
    event_peer_destroyed
    event_reset
    sched_poll
    sched_watchdog

    memory_fault
    page_tables_outside
    populate_arguments
    populate_exhausted
    release_populate
    release_arguments
    release_stale_tlb
    frames_come_zeroed
    pool_scrubbed
    foreign_unmapped
    foreign_arguments
    foreign_zombie
    control_confined
    memory_claim
    memory_query
    memory_increase

    grant_map
    grant_read_only
    grant_execute
    grant_copy
    grant_arguments
    grant_control
    grant_revoked
    grant_stale_tlb
    grant_granter_destroyed
    grant_mapper_destroyed
    grant_race

    domain_info
    domain_counters
    domain_limits
    batch
    debug_keys
    domain_arguments
    domain_rounds
    domain_many
    context_round_trip
    context_refused
    triple_fault
    pause_unpause
    destroy_running
    destroy_in_call
    destroy_in_steps
    shutdown_reasons
    shutdown_request

    smp_bringup
    vcpu_start_stop
    wakeup_stress
    real_mode
    nmi
    timer
    time_steady
    halt_wakes
    halt_interrupts_off
    cpuid_policy
    msr_policy
    apic_registers
    task_priority
    interrupt_flag
    control_registers
    control_registers_refused
    xsetbv_policy
    instructions
    canonical_edge
    ports
    debug_storm
    alignment_storm
    pause_infinite

    virtio_block
    virtio_net
    virtio_reset
    virtio_distrust

    affinity
    affinity_soft
    weight_share
    cap

    fuzz_calls
    fuzz_registers
    fuzz_machine
}
