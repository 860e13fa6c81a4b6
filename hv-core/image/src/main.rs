// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's image: joins the hardware room and the kernel crate into one
//! file for the boot loader (link.ld says where it lives). There is nothing
//! to decide here: the hal calls [`hv_main`] on the boot CPU when the machine
//! is ready, and gets panics.
// UNSAFETY: `hv_main` has a name that the hal links against.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod bare {
    #![allow(unsafe_code)]

    use core::panic::PanicInfo;
    use hv_hal::boot::BootInfo;

    #[unsafe(no_mangle)]
    fn hv_main(info: &'static BootInfo) -> ! {
        hv_kernel::start(info)
    }

    #[panic_handler]
    fn panic(info: &PanicInfo<'_>) -> ! {
        hv_hal::fault::die(info)
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("hv-core runs on the bare machine: build it for x86_64-unknown-none");
    std::process::exit(1);
}
