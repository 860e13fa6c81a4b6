// SPDX-License-Identifier: MIT OR Apache-2.0
//! Micro-guests: one image with the runner and all behaviours. A file under
//! `tests/` is one behaviour: what the child does and what the runner, in the
//! control domain, makes of it. The runner prints
//! `HVTEST <name> <verdict> [text]` for each and `HVTEST done <count>` last.
//!
//! Words on its command line without '=' choose the tests whose names
//! contain one of them; none chooses all. With `bench=` it measures instead.
// UNSAFETY: the entry symbol, and tests that misuse memory on purpose; each
// block says why it is sound.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![allow(unsafe_code)]
// A verdict carries its text: there is no heap to put it on.
#![allow(clippy::result_large_err)]

#[cfg(target_os = "none")]
mod backend;
#[cfg(target_os = "none")]
mod baseline;
#[cfg(target_os = "none")]
mod bench;
#[cfg(target_os = "none")]
mod child;
#[cfg(target_os = "none")]
mod fuzz;
#[cfg(target_os = "none")]
mod grants;
#[cfg(target_os = "none")]
mod host;
#[cfg(target_os = "none")]
mod runner;
#[cfg(target_os = "none")]
mod tests;

#[cfg(target_os = "none")]
mod bare {
    use core::panic::PanicInfo;

    use hv_guest::start::{self, Boot};

    #[unsafe(no_mangle)]
    fn hv_guest_runner(boot: &Boot) -> ! {
        match crate::bench::wanted(boot.cmdline) {
            Some(rows) => crate::bench::run(rows),
            None => crate::runner::run(boot),
        }
    }

    #[panic_handler]
    fn panic(info: &PanicInfo<'_>) -> ! {
        start::panic(info)
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("hv-guests runs on the core: build it for x86_64-unknown-none");
    std::process::exit(1);
}
