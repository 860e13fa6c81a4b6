// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text into the log, and the log out.

use crate::domain::Domain;
use crate::guest_log;
use crate::guest_memory;
use crate::logging;
use crate::outcome::Answer;
use hv_abi::Status;

/// Longest text of one call.
const LINE: usize = 256;

/// ConsoleWrite.
pub fn write(caller: &Domain, gpa: u64, len: u64) -> Answer {
    let len = usize::try_from(len).ok().filter(|l| *l > 0 && *l <= LINE).ok_or(Status::Invalid)?;
    let mut buf = [0u8; LINE];
    let bytes = buf.get_mut(..len).ok_or(Status::Invalid)?;
    guest_memory::read_bytes(caller, gpa, bytes)?;
    // Control characters of a guest must not reach the host's terminal.
    for byte in bytes.iter_mut() {
        if !(0x20..0x7f).contains(byte) && *byte != b'\n' {
            *byte = if *byte == b'\r' || *byte == b'\t' { b' ' } else { b'?' };
        }
    }
    let text = core::str::from_utf8(bytes).unwrap_or_default();
    for line in text.split('\n').filter(|l| !l.trim().is_empty()) {
        if caller.is_control() {
            log::info!(target: "dom0", "{line}");
        } else {
            guest_log!(caller, "{line}");
        }
    }
    Ok(len as u64)
}

/// LogRead.
pub fn read_log(caller: &Domain, cursor: u64, gpa: u64, len: u64) -> Answer {
    let len = usize::try_from(len).ok().filter(|l| *l > 0 && *l <= 4096).ok_or(Status::Invalid)?;
    guest_memory::check(caller, gpa, len)?;
    let mut next = cursor;
    let mut done = 0usize;
    while done < len {
        let mut buf = [0u8; 256];
        let want = buf.len().min(len - done);
        let part = buf.get_mut(..want).unwrap_or_default();
        let (after, count) = logging::read(next, part);
        if count == 0 {
            next = after;
            break;
        }
        let text = buf.get(..count).unwrap_or_default();
        guest_memory::write_bytes(caller, gpa + done as u64, text)?;
        next = after;
        done += count;
    }
    Ok(next << 16 | done as u64)
}
