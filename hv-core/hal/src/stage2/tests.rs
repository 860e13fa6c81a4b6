// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 2 tables against a model: a plain map from page to page.

use super::*;
use std::collections::BTreeMap;
use std::vec::Vec;

/// Frames from a pool that knows which are out.
struct Pool {
    free: Vec<Frame>,
    out: usize,
}

impl Pool {
    /// Tests run side by side on one memory: each has frames of its own.
    fn new(first: u64, frames: u64) -> Self {
        Self { free: (first..first + frames).map(Frame).collect(), out: 0 }
    }
}

impl TableFrames for Pool {
    fn take(&mut self) -> Option<Frame> {
        let frame = self.free.pop()?;
        mem::zero(frame, 1);
        self.out += 1;
        Some(frame)
    }

    fn give(&mut self, frame: Frame) {
        assert!(!self.free.contains(&frame), "given twice");
        self.out -= 1;
        self.free.push(frame);
    }
}

/// xorshift64: tests need repeatable numbers, not good ones.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

const ORDERS: [Order; 3] = [Order::P4K, Order::P2M, Order::P1G];
const FORMATS: [Format; 2] = [Format::Npt, Format::Ept];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mapping(Frame, Order, Access, Cache);

/// Leaves by first guest page; the model is a list of disjoint leaves.
type Model = BTreeMap<u64, Mapping>;

fn find(model: &Model, page: u64) -> Option<(u64, Mapping)> {
    let (&start, &leaf) = model.range(..=page).next_back()?;
    (page < start + leaf.1.pages()).then_some((start, leaf))
}

fn overlaps(model: &Model, page: u64, order: Order) -> bool {
    find(model, page).is_some() || model.range(page..page + order.pages()).next().is_some()
}

fn check(stage2: &Stage2, model: &Model, page: u64) {
    let want = find(model, page).map(|(start, Mapping(frame, order, access, cache))| Leaf {
        frame: frame.plus(page - start),
        order,
        access,
        cache,
    });
    assert_eq!(stage2.lookup((page << 12) + 5), want, "page {page:#x}");
}

fn split(model: &mut Model, page: u64, order: Order) {
    while let Some((start, Mapping(frame, big, access, cache))) = find(model, page) {
        if big <= order {
            return;
        }
        model.remove(&start);
        let small = if big == Order::P1G { Order::P2M } else { Order::P4K };
        for i in 0..512 {
            let at = i * small.pages();
            model.insert(start + at, Mapping(frame.plus(at), small, access, cache));
        }
    }
}

fn step(random: &mut Random, stage2: &mut Stage2, model: &mut Model, pool: &mut Pool) {
    let order = ORDERS[random.below(3) as usize];
    // Two GiB at each end of the address space, so that steps meet often.
    let base = [0, (1 << 36) - (2 << 18)][random.below(2) as usize];
    let page = (base + random.below(2 << 18)) & !(order.pages() - 1);
    let gpa = page << 12;
    if random.below(2) == 0 {
        let frame = Frame(random.below(1 << 30) & !(order.pages() - 1));
        let access = [Access::R, Access::RW, Access::RX, Access::RWX][random.below(4) as usize];
        let cache = [Cache::WriteBack, Cache::Uncached][random.below(2) as usize];
        let result = stage2.map(gpa, frame, order, access, cache, pool);
        if overlaps(model, page, order) {
            assert_eq!(result, Err(MapError::Occupied));
        } else {
            assert_eq!(result, Ok(()));
            model.insert(page, Mapping(frame, order, access, cache));
        }
    } else {
        let result = stage2.unmap(gpa, order, pool);
        split(model, page, order);
        match model.get(&page).copied().filter(|leaf| leaf.1 == order) {
            Some(Mapping(frame, _, access, cache)) => {
                model.remove(&page);
                let leaf = Leaf { frame, order, access, cache };
                assert_eq!(result, Ok(Some(leaf)));
            }
            None if overlaps(model, page, order) => assert_eq!(result, Err(MapError::Occupied)),
            None => assert_eq!(result, Ok(None)),
        }
    }
    check(stage2, model, page);
    check(stage2, model, page + order.pages() - 1);
    check(stage2, model, base + random.below(2 << 18));
}

#[test]
fn behaves_as_a_map_does() {
    for format in FORMATS {
        for seed in 1..=20 {
            let mut pool = Pool::new(1, 3000);
            let mut stage2 = Stage2::new(format, &mut pool).unwrap();
            let mut model = Model::new();
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
            for _ in 0..400 {
                step(&mut random, &mut stage2, &mut model, &mut pool);
                assert_eq!(stage2.table_pages(), pool.out);
                if random.below(20) == 0 {
                    stage2.reclaim(&mut pool);
                }
            }
            let mut steps = 0;
            let mut seen = Model::new();
            while !stage2.teardown(100, &mut pool, &mut |gpa, leaf| {
                seen.insert(gpa >> 12, Mapping(leaf.frame, leaf.order, leaf.access, leaf.cache));
            }) {
                steps += 1;
                assert!(steps < 10_000, "a teardown that does not end");
            }
            assert_eq!(seen, model);
            assert_eq!((pool.out, stage2.table_pages()), (0, 0));
            assert!(stage2.teardown(1, &mut pool, &mut |_, _| panic!("nothing is left")));
        }
    }
}

#[test]
fn allegations_are_refused() {
    let mut pool = Pool::new(4000, 100);
    let mut stage2 = Stage2::new(Format::Npt, &mut pool).unwrap();
    let mut map = |gpa, frame, order, access| {
        stage2.map(gpa, Frame(frame), order, access, Cache::WriteBack, &mut pool)
    };
    let bad = Err(MapError::Misaligned);
    assert_eq!(map(0x1001, 1, Order::P4K, Access::RW), bad);
    assert_eq!(map(1 << 48, 1, Order::P4K, Access::RW), bad);
    assert_eq!(map(u64::MAX << 12, 1, Order::P4K, Access::RW), bad);
    assert_eq!(map(0x1000, 512, Order::P2M, Access::RW), bad);
    assert_eq!(map(0x20_0000, 511, Order::P2M, Access::RW), bad);
    assert_eq!(map(0x20_0000, 1 << 40, Order::P2M, Access::RW), bad);
    assert_eq!(map(0x1000, 1, Order::P4K, Access::W), bad);
    assert_eq!(map(0x1000, 1, Order::P4K, Access::empty()), bad);
    assert_eq!(stage2.lookup(1 << 48), None);
    assert_eq!(stage2.unmap(1 << 48, Order::P4K, &mut pool), Err(MapError::Misaligned));
    assert_eq!(stage2.table_pages(), 1);
}

#[test]
fn running_out_of_frames_leaves_all_as_it_was() {
    for frames in 1..4 {
        let mut pool = Pool::new(5000, frames);
        let mut stage2 = Stage2::new(Format::Ept, &mut pool).unwrap();
        let result = stage2.map(0, Frame(7), Order::P4K, Access::RW, Cache::WriteBack, &mut pool);
        assert_eq!(result, Err(MapError::NoMemory));
        assert_eq!(stage2.lookup(0), None);
        while !stage2.teardown(1000, &mut pool, &mut |_, _| panic!("no leaf")) {}
        assert_eq!(pool.out, 0);
    }
    assert!(Stage2::new(Format::Ept, &mut Pool::new(0, 0)).is_none());
}

#[test]
fn a_cpu_without_large_leaves_gets_smaller_ones() {
    let mut pool = Pool::new(6000, 10);
    let mut stage2 = Stage2::new(Format::Ept, &mut pool).unwrap();
    stage2.largest = Order::P2M;
    let at = Order::P1G.bytes();
    let mut map =
        |access| stage2.map(at, Frame(1 << 18), Order::P1G, access, Cache::WriteBack, &mut pool);
    assert_eq!(map(Access::W), Err(MapError::Misaligned));
    assert_eq!(map(Access::RW), Ok(()));
    assert_eq!(map(Access::RW), Err(MapError::Occupied));
    let leaf = stage2.lookup(at + 0x60_1000).unwrap();
    assert_eq!((leaf.frame, leaf.order), (Frame((1 << 18) + 0x601), Order::P2M));
}

/// The bits that the CPU will see.
#[test]
fn entries_are_as_the_manuals_say() {
    let leaf = |access, cache| Entry::Leaf { frame: Frame(0x12345), access, cache };
    let rw = leaf(Access::RW, Cache::WriteBack);
    assert_eq!(rw.encode(Format::Npt, 0), 0x8000_0000_1234_5067);
    assert_eq!(rw.encode(Format::Npt, 1), 0x8000_0000_1234_50e7);
    assert_eq!(rw.encode(Format::Ept, 0), 0x1234_5033);
    assert_eq!(rw.encode(Format::Ept, 1), 0x1234_50b3);
    let device = leaf(Access::RX, Cache::Uncached);
    assert_eq!(device.encode(Format::Npt, 0), 0x1234_507d);
    assert_eq!(device.encode(Format::Ept, 0), 0x1234_5005);
    assert_eq!(Entry::Table(Frame(2)).encode(Format::Npt, 3), 0x2027);
    assert_eq!(Entry::Table(Frame(2)).encode(Format::Ept, 3), 0x2007);
}
