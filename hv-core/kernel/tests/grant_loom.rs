// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counts of grants' uses in every interleaving: the core's own file
//! `grant/uses.rs`, compiled here over loom's atomics, with a granter that
//! takes its entry back and users that begin and end.

use loom::sync::Arc;
use loom::thread;

mod atomic {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}
#[path = "../src/grant/uses.rs"]
mod uses;

use atomic::{AtomicU64, Ordering};
use uses::{Refused, Uses};

/// A locked instruction is a full barrier on x86 (SDM Vol. 3, 9.2.3.9). loom
/// takes a SeqCst exchange for an acquire and release only, so it is told.
fn barrier() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// One entry: whether it is in force, the core's count, the mirror for the
/// granter, and the memory that it is about.
struct Entry {
    valid: AtomicU64,
    uses: Uses,
    mirror: AtomicU64,
    memory: AtomicU64,
}

impl Entry {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            valid: AtomicU64::new(1),
            uses: Uses::new(),
            mirror: AtomicU64::new(0),
            memory: AtomicU64::new(1),
        })
    }

    /// As `Held::begin`: counted, told, then read.
    fn begin(&self, by: u16) -> bool {
        if self.uses.begin(by).is_err() {
            return false;
        }
        self.mirror.fetch_add(1, Ordering::SeqCst);
        barrier();
        if self.valid.load(Ordering::SeqCst) == 1 {
            return true;
        }
        self.end();
        false
    }

    /// As dropping it.
    fn end(&self) {
        self.uses.end();
        self.mirror.fetch_sub(1, Ordering::SeqCst);
    }

    /// As a granter takes an entry back; true when it may use the memory.
    fn take_back(&self) -> bool {
        self.valid.swap(0, Ordering::SeqCst);
        barrier();
        self.mirror.load(Ordering::SeqCst) == 0
    }
}

#[test]
fn memory_that_was_taken_back_is_nobody_elses() {
    loom::model(|| {
        let entry = Entry::new();
        let theirs = entry.clone();
        let user = thread::spawn(move || {
            if theirs.begin(7) {
                // Whatever the granter writes once it has the memory back is
                // its secret.
                assert_eq!(theirs.memory.load(Ordering::Relaxed), 1, "a secret was read");
                theirs.end();
            }
        });
        if entry.take_back() {
            entry.memory.store(2, Ordering::Relaxed);
        }
        user.join().unwrap();
        assert_eq!(entry.uses.now().0, 0);
        assert!(entry.take_back(), "the mirror is left up");
    });
}

#[test]
fn two_domains_never_use_one_grant_at_once() {
    loom::model(|| {
        let entry = Entry::new();
        let inside = Arc::new(AtomicU64::new(0));
        let users: Vec<_> = [1u16, 2]
            .into_iter()
            .map(|by| {
                let (entry, inside) = (entry.clone(), inside.clone());
                thread::spawn(move || match entry.uses.begin(by) {
                    Ok(()) => {
                        let before = inside.fetch_add(u64::from(by), Ordering::SeqCst);
                        assert_eq!(before, 0, "another domain is in");
                        inside.fetch_sub(u64::from(by), Ordering::SeqCst);
                        entry.uses.end();
                    }
                    Err(why) => assert_eq!(why, Refused::Other),
                })
            })
            .collect();
        users.into_iter().for_each(|user| user.join().unwrap());
        assert_eq!(entry.uses.now().0, 0);
    });
}

#[test]
fn uses_of_one_domain_are_all_counted() {
    loom::model(|| {
        let entry = Entry::new();
        let theirs = entry.clone();
        let other = thread::spawn(move || assert!(theirs.uses.begin(3).is_ok()));
        assert!(entry.uses.begin(3).is_ok());
        other.join().unwrap();
        assert_eq!(entry.uses.now(), (2, 3));
        entry.uses.end();
        assert_eq!(entry.uses.begin(4), Err(Refused::Other));
        entry.uses.end();
        assert!(entry.uses.begin(4).is_ok());
    });
}
