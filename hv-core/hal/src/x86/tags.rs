// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each CPU's tags of TLB entries; see [`crate::vendor::tags`].

use spin::Mutex;

use super::percpu::MAX_CPUS;
use crate::addr::CpuId;
use crate::vendor::tags::{Tag, Tags};

static TAGS: [Mutex<Tags>; MAX_CPUS] = [const { Mutex::new(Tags::new()) }; MAX_CPUS];

/// A tag for this CPU: the old one if it still is good, else a new one from
/// 1..=`last`, and whether all tags must be flushed before it is used.
pub fn tag(here: CpuId, old: Option<Tag>, last: u32) -> (Tag, bool) {
    let Some(tags) = TAGS.get(here.0 as usize) else {
        panic!("CPU {} is none of those the core runs on", here.0);
    };
    let mut tags = tags.lock();
    match old {
        Some(tag) if tags.good(here, tag) => (tag, false),
        _ => tags.fresh(here, last),
    }
}
