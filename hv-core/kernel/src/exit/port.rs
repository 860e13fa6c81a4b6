// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports that are nobody's: reads give ones, writes are dropped, as on a bus
//! without a device. Guests own no port at all; the control domain owns all
//! but the core's serial line.

use crate::domain::Domain;
use crate::guest_log;
use crate::outcome::Outcome;
use crate::vcpu::Core;
use hv_hal::exit::{GENERAL_PROTECTION, PortAccess, gpr};

/// Handles one access.
pub fn handle(domain: &Domain, core: &mut Core, access: PortAccess) -> Outcome {
    if access.string {
        // Nothing here is worth decoding string forms for.
        guest_log!(domain, "string access to port {:#x}", access.port);
        core.hw.inject(GENERAL_PROTECTION);
        return Outcome::Resume;
    }
    if !access.write {
        let rax = core.hw.reg(gpr::RAX);
        let value = match access.size {
            1 => rax | 0xff,
            2 => rax | 0xffff,
            // A 32-bit result clears the upper half.
            _ => 0xffff_ffff,
        };
        core.hw.set_reg(gpr::RAX, value);
    }
    core.hw.skip();
    Outcome::Resume
}
