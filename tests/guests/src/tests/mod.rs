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
    memory_fault
    triple_fault
    pause_unpause
    destroy_running
    event_ipi
    smp_bringup
}
