// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making the control domain at boot. Whatever is wrong with what the boot
//! loader gave is said in one message that names it and the remedy.

use super::layout::{Layout, Range, subtract};
use super::{boot_params, bzimage};
use crate::domain::{self, Domain};
use crate::memory::domain::map_status;
use crate::memory::pool::TablesOf;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use hv_abi::domain::DomainConfig;
use hv_abi::vcpu::run_state;
use hv_abi::{DOM_CONTROL, Status};
use hv_hal::addr::{Frame, Order};
use hv_hal::boot::{BootInfo, Module, RegionKind};
use hv_hal::exit::Role;
use hv_hal::mem;
use hv_hal::stage2::{Access, Cache};
use zerocopy::FromZeros;

/// Copies between machine addresses; the ranges don't overlap.
fn copy(from: u64, to: u64, length: u64) {
    let mut done = 0;
    let mut buf = [0u8; 512];
    while done < length {
        let (source, target) = (from + done, to + done);
        let part = (512 - source % 512).min(512 - target % 512).min(length - done);
        let Some(chunk) = buf.get_mut(..part as usize) else {
            return;
        };
        mem::read(Frame::holding(source), (source % 4096) as usize, chunk);
        mem::write(Frame::holding(target), (target % 4096) as usize, chunk);
        done += part;
    }
}

/// Writes bytes to a machine address.
fn put(at: u64, bytes: &[u8]) {
    for (i, byte) in bytes.iter().enumerate() {
        let to = at + i as u64;
        mem::write(Frame::holding(to), (to % 4096) as usize, &[*byte]);
    }
}

/// The first free place of this size and alignment, not below `least`.
fn find(free: &[Range], least: u64, size: u64, align: u64) -> Option<u64> {
    free.iter().find_map(|r| {
        let start = r.0.max(least).next_multiple_of(align);
        (start.checked_add(size)? <= r.1).then_some(start)
    })
}

fn pages_of(module: &Module) -> Range {
    (module.start / 4096 * 4096, module.end.next_multiple_of(4096))
}

/// The words for the kernel: the module's string without a leading path.
fn kernel_words(text: &str) -> &str {
    let text = text.trim();
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_path = first.contains('/') || first.ends_with("bzImage") || first.starts_with("vmlinuz");
    if is_path && !first.contains('=') { rest.trim_start() } else { text }
}

/// Makes the control domain, ready to run.
pub fn build(
    boot: &BootInfo,
    layout: &Layout,
    vcpus: u32,
    limited: bool,
) -> Result<Arc<Domain>, &'static str> {
    let kernel = boot.modules.first().ok_or(
        "the boot loader gave no module: the control domain's kernel must be the first, its initrd the second",
    )?;
    let initrd = boot.modules.get(1);
    let mut start = [0u8; bzimage::LOOK];
    let length = kernel.end.saturating_sub(kernel.start);
    if length < bzimage::LOOK as u64 {
        return Err("the first module is too short for a kernel");
    }
    for (i, byte) in start.iter_mut().enumerate() {
        let at = kernel.start + i as u64;
        let mut one = [0u8];
        mem::read(Frame::holding(at), (at % 4096) as usize, &mut one);
        *byte = one[0];
    }
    let image = bzimage::parse(&start, length)?;

    let free =
        boot.modules.iter().fold(layout.control.clone(), |free, m| subtract(&free, pages_of(m)));
    let at = place(&free, &image)
        .ok_or("no free memory for the control domain's kernel: give a larger dom0_mem")?;
    let free = subtract(&free, (at, at + image.memory.next_multiple_of(4096)));
    let data = find(&free, 0x1_0000, boot_params::PAGES * 4096, 4096)
        .ok_or("no free memory for the control domain's boot data: give a larger dom0_mem")?;

    let mut cmdline = String::from(kernel_words(kernel.cmdline));
    if limited {
        cmdline.push_str(&alloc::format!(" nr_cpus={vcpus}"));
    }
    if cmdline.len() >= boot_params::CMDLINE_MAX.min(image.cmdline + 1) {
        return Err("the control domain's command line is longer than its kernel takes");
    }
    copy(kernel.start + image.payload as u64, at, length - image.payload as u64);
    mem::zero(Frame::holding(data), boot_params::PAGES);
    let header = start.get(bzimage::HEADER..bzimage::HEADER + image.header);
    let e820 = boot_params::e820(boot, layout);
    let told = boot_params::Told {
        header: header.unwrap_or_default(),
        initrd: initrd.map(|m| (m.start, m.end)),
        cmdline: &cmdline,
        rsdp: boot.rsdp,
        e820: &e820,
    };
    boot_params::write(data, &told, &mut put);

    let domain = make_domain(layout, vcpus)?;
    map_all(&domain, boot, layout)
        .map_err(|_| "no memory for the control domain's stage 2 tables")?;
    let first = domain.vcpus.first().ok_or("the control domain has no vCPU")?;
    {
        let mut guard = first.core();
        let core = guard.as_mut().ok_or("the control domain's vCPU is gone")?;
        core.hw
            .set_context(&boot_params::context(data, at))
            .map_err(|_| "the control domain's first registers were refused")?;
        core.waits_for_sipi = false;
        first.set_state(run_state::STOPPED);
    }
    log::info!(
        "control domain: {} MiB, {vcpus} vCPUs, kernel at {at:#x}, initrd {} KiB",
        super::layout::bytes(&layout.control) >> 20,
        initrd.map_or(0, |m| (m.end - m.start) >> 10)
    );
    log::info!("control domain: command line \"{cmdline}\"");
    Ok(domain)
}

/// Where the kernel goes: where it prefers, else anywhere above 16 MiB.
fn place(free: &[Range], image: &bzimage::Image) -> Option<u64> {
    let wanted = (image.preferred, image.preferred.checked_add(image.memory)?);
    if free.iter().any(|r| r.0 <= wanted.0 && wanted.1 <= r.1) {
        return Some(image.preferred);
    }
    find(free, 16 << 20, image.memory, image.alignment?)
}

fn make_domain(layout: &Layout, vcpus: u32) -> Result<Arc<Domain>, &'static str> {
    let pages = super::layout::bytes(&layout.control) >> 12;
    let mut config = DomainConfig::new_zeroed();
    config.vcpus = vcpus;
    config.max_pages = pages;
    config.max_ports = 4096;
    config.weight = 512;
    let name = b"control";
    config.name.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    let domain = domain::create::create(&config, Role::Control, DOM_CONTROL)
        .map_err(|_| "no memory for the control domain's vCPUs")?;
    domain.memory.pages.store(pages, Ordering::Relaxed);
    Ok(domain)
}

/// Maps its memory, and ACPI's, one to one with the largest leaves that fit.
fn map_all(domain: &Domain, boot: &BootInfo, layout: &Layout) -> Result<(), Status> {
    let acpi = boot
        .memory
        .iter()
        .filter(|r| matches!(r.kind, RegionKind::AcpiReclaim | RegionKind::AcpiNvs))
        .map(|r| (r.start.next_multiple_of(4096), r.end / 4096 * 4096));
    let ranges: Vec<Range> = layout.control.iter().copied().chain(acpi).collect();
    for (start, end) in ranges {
        let mut at = start;
        while at < end {
            let fits = |o: &Order| at.is_multiple_of(o.bytes()) && end - at >= o.bytes();
            let order = [Order::P1G, Order::P2M].into_iter().find(fits).unwrap_or(Order::P4K);
            domain
                .memory
                .stage2
                .write()
                .map(
                    at,
                    Frame::holding(at),
                    order,
                    Access::RWX,
                    Cache::WriteBack,
                    &mut TablesOf(DOM_CONTROL),
                )
                .map_err(map_status)?;
            at += order.bytes();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_not_for_the_kernel() {
        assert_eq!(kernel_words("/boot/vmlinuz console=ttyS1"), "console=ttyS1");
        assert_eq!(kernel_words("bzImage a b"), "a b");
        assert_eq!(kernel_words("root=/dev/sda1 ro"), "root=/dev/sda1 ro");
        assert_eq!(kernel_words("quiet"), "quiet");
        assert_eq!(kernel_words("/boot/bzImage"), "");
    }

    #[test]
    fn places_are_free_and_aligned() {
        let free = [(0x1000, 0x9_f000), (0x10_0000, 0x400_0000)];
        assert_eq!(find(&free, 0x1_0000, 9 * 4096, 4096), Some(0x1_0000));
        assert_eq!(find(&free, 0, 1 << 20, 2 << 20), Some(2 << 20));
        assert_eq!(find(&free, 0, 1 << 30, 4096), None);
    }
}
