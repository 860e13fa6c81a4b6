// SPDX-License-Identifier: MIT OR Apache-2.0
//! Canary scan of the whole pool: one domain gets all free memory and it is
//! marked; after it is gone, the next that gets it finds no mark.

use hv_abi::{Hypercall as H, Status};
use hv_guest::hypercall::call;
use hv_guest::paging::MAPPED;
use hv_guest::{Outcome, check, error, ok};

use crate::child::config;
use crate::host;

/// Words looked at in each page.
const WORDS: [u64; 4] = [0, 0x7f8, 0x800, 0xff8];

/// Looks at every page that can be had, then marks it. Returns their number.
fn sweep() -> Outcome<u64> {
    let mut config = config("canary");
    config.max_pages = 1 << 40;
    let domain = ok!(host::create(&config));
    let mut pages = 0;
    // A few pages stay free: mapping takes tables.
    while ok!(host::host()).free_pages > 1024 {
        let gpa = pages * 4096;
        let done = match call(H::MemoryPopulate { domain, gpa, pages: 512 }) {
            Ok(done) => done,
            Err(Status::NoMemory) => break,
            Err(status) => return Err(error!("{status:?}")),
        };
        let mut seen = 0;
        while seen < done {
            let run = ok!(host::map(domain, gpa + seen * 4096, done - seen));
            if run.machine + run.pages * 4096 > MAPPED {
                return Err(error!("memory above 512 GiB"));
            }
            for page in 0..run.pages {
                for word in WORDS {
                    let place = (run.machine + page * 4096 + word) as *mut u64;
                    // SAFETY: foreign memory that is open to us, to which no
                    // reference is.
                    let old = unsafe { place.replace(0xdead_c0de) };
                    check!(old == 0, "{old:#x} at {place:?}");
                }
            }
            ok!(host::unmap(run.machine, run.pages));
            seen += run.pages;
        }
        pages += done;
    }
    ok!(host::destroy(domain));
    Ok(pages)
}

/// The runner's part.
pub fn run() -> Outcome {
    let (first, second) = (sweep()?, sweep()?);
    check!(first > 1000 && second == first, "{first} pages, then {second}");
    Ok(())
}
