// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations of the control domain on guests, with 1, 10, 100 and 500 of
//! them there, and the memory they take.

use core::hint::black_box;

use hv_abi::Hypercall as H;
use hv_abi::memory::ForeignRun;
use hv_guest::bench::{WINDOWS, begin, end, windows};
use hv_guest::hypercall::call;
use hv_guest::{Outcome, cpu, failure, ok, println};

use super::{How, Measured, Row};
use crate::child::{self, EXTENT};
use crate::host;

/// The rows.
pub const ROWS: &[Row] = &[
    Row { name: "create@1", how: How::Runner(|row| creating(row, 1)) },
    Row { name: "create@10", how: How::Runner(|row| creating(row, 10)) },
    Row { name: "create@100", how: How::Runner(|row| creating(row, 100)) },
    Row { name: "create@500", how: How::Runner(|row| creating(row, 500)) },
    Row { name: "destroy@1", how: How::Runner(|row| destroying(row, 1)) },
    Row { name: "destroy@10", how: How::Runner(|row| destroying(row, 10)) },
    Row { name: "destroy@100", how: How::Runner(|row| destroying(row, 100)) },
    Row { name: "destroy@500", how: How::Runner(|row| destroying(row, 500)) },
    Row { name: "list@1", how: How::Runner(|row| listing(row, 1)) },
    Row { name: "list@10", how: How::Runner(|row| listing(row, 10)) },
    Row { name: "list@100", how: How::Runner(|row| listing(row, 100)) },
    Row { name: "list@500", how: How::Runner(|row| listing(row, 500)) },
    Row { name: "pause@1", how: How::Runner(|row| pausing(row, 1)) },
    Row { name: "pause@10", how: How::Runner(|row| pausing(row, 10)) },
    Row { name: "pause@100", how: How::Runner(|row| pausing(row, 100)) },
    Row { name: "pause@500", how: How::Runner(|row| pausing(row, 500)) },
    Row { name: "populate_page", how: How::Runner(populating) },
    Row { name: "foreign_map_2m", how: How::Runner(mapping) },
    Row { name: "memory", how: How::Runner(memory) },
];

/// Domains in a window of `creating` and `destroying`.
const BATCH: usize = 20;

/// One vCPU, 2 MiB of memory, registers: all that a guest has but its kernel.
fn make() -> Outcome<u64> {
    let mut config = child::config("bench");
    config.max_pages = EXTENT;
    let id = host::create(&config).map_err(|s| failure!("DomainCreate: {s:?}"))?;
    host::populate(id, 0, EXTENT).map_err(|s| failure!("MemoryPopulate: {s:?}"))?;
    host::set_context(id, 0, &child::first_context(|| Ok(())))
        .map_err(|s| failure!("VcpuSetContext: {s:?}"))?;
    Ok(id)
}

/// Makes `count` domains that stay.
fn crowd(count: u64) -> Outcome {
    for _ in 0..count {
        ok!(host::create(&child::config("crowd")));
    }
    Ok(())
}

fn turns(
    row: u64,
    mut before: impl FnMut() -> Outcome,
    mut measured: impl FnMut() -> Outcome,
    mut after: impl FnMut() -> Outcome,
) -> Outcome<Measured> {
    let mut ticks = [0; WINDOWS];
    // Once without marks: tables grow when they first hold so many.
    before()?;
    measured()?;
    after()?;
    for ticks in &mut ticks {
        before()?;
        let start = cpu::tsc();
        begin(row);
        measured()?;
        end(row);
        *ticks = cpu::tsc() - start;
        after()?;
    }
    Ok((BATCH as u64, ticks))
}

fn creating(row: u64, there: u64) -> Outcome<Measured> {
    crowd(there)?;
    let made = core::cell::Cell::new([0; BATCH]);
    turns(
        row,
        || Ok(()),
        || {
            let mut ids = [0; BATCH];
            for id in &mut ids {
                *id = make()?;
            }
            made.set(ids);
            Ok(())
        },
        || remove(&made.get()),
    )
}

fn destroying(row: u64, there: u64) -> Outcome<Measured> {
    crowd(there)?;
    let made = core::cell::Cell::new([0; BATCH]);
    turns(
        row,
        || {
            let mut ids = [0; BATCH];
            for id in &mut ids {
                *id = make()?;
            }
            made.set(ids);
            Ok(())
        },
        || remove(&made.get()),
        || Ok(()),
    )
}

fn remove(ids: &[u64]) -> Outcome {
    for id in ids {
        host::destroy(*id).map_err(|s| failure!("DomainDestroy: {s:?}"))?;
    }
    Ok(())
}

fn listing(row: u64, there: u64) -> Outcome<Measured> {
    crowd(there)?;
    let ticks = windows(row, 10, || {
        let mut at = 0;
        while let Ok(info) = host::domain_from(at) {
            at = u64::from(info.domain) + 1;
        }
        black_box(at);
    });
    Ok((10, ticks))
}

fn pausing(row: u64, there: u64) -> Outcome<Measured> {
    crowd(there)?;
    let domain = make()?;
    let ticks = windows(row, 1000, || {
        black_box(call(H::DomainPause { domain })).ok();
        black_box(call(H::DomainUnpause { domain })).ok();
    });
    Ok((1000, ticks))
}

/// Pages one by one. They were cleared when another domain gave them back.
fn populating(row: u64) -> Outcome<Measured> {
    let mut config = child::config("bench");
    config.max_pages = 1 << 20;
    let before = ok!(host::create(&config));
    ok!(host::populate(before, 4096, 7500));
    ok!(host::destroy(before));
    let id = ok!(host::create(&config));
    // Tables as well as pages are taken in turn: many windows are alike only
    // from a whole number of tables on.
    let mut at = 0;
    let ticks = windows(row, 2048, || {
        black_box(host::populate(id, at, 1)).ok();
        at += 4096;
    });
    Ok((2048, ticks))
}

fn mapping(row: u64) -> Outcome<Measured> {
    let id = make()?;
    let ticks = windows(row, 100, || {
        if let Ok(ForeignRun { machine, pages }) = host::map(id, 0, EXTENT) {
            black_box(host::unmap(machine, pages)).ok();
        }
    });
    Ok((100, ticks))
}

/// Figures, and listing as what is measured.
fn memory(row: u64) -> Outcome<Measured> {
    let before = ok!(host::host());
    let there = 100;
    for _ in 0..there {
        make()?;
    }
    let now = ok!(host::host());
    let own = there * EXTENT * 4096;
    let pages = (before.free_pages - now.free_pages) * 4096 - own;
    let heap = now.heap_used - before.heap_used;
    println!("HVBENCH figure domain_bytes {}", (pages + heap) / there);
    println!("HVBENCH figure domain_heap_bytes {}", heap / there);
    println!("HVBENCH figure core_bytes {}", before.core_pages * 4096);
    println!("HVBENCH figure core_heap_bytes {}", before.heap_size);
    println!("HVBENCH figure host_bytes {}", before.total_pages * 4096);
    let ticks = windows(row, 1000, || {
        black_box(host::domain_from(0)).ok();
    });
    Ok((1000, ticks))
}
