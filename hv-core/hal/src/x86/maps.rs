// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bit maps that say which ports and MSRs a domain touches without an exit,
//! shared by all vCPUs of a role. Their content is a vendor's `permit` and
//! [`crate::vendor::ports`].

use spin::{Mutex, Once};

use super::host_page::HostPages;
use crate::exit::Role;
use crate::vendor::ports;

struct Maps {
    closed_ports: HostPages,
    open_ports: HostPages,
    msrs: HostPages,
}

static MAPS: Once<Mutex<Maps>> = Once::new();

/// Makes them; every port is closed to guests and open to the control domain.
/// `fill_msrs` fills the map of MSRs, which has `msr_bytes`.
pub fn make(msr_bytes: usize, fill_msrs: impl FnOnce(&mut [u8])) {
    MAPS.call_once(|| {
        let pages = |bytes: usize| HostPages::new(bytes.div_ceil(4096));
        let mut closed_ports = pages(ports::BYTES);
        ports::close(closed_ports.bytes());
        let mut msrs = pages(msr_bytes);
        fill_msrs(msrs.bytes());
        Mutex::new(Maps { closed_ports, open_ports: pages(ports::BYTES), msrs })
    });
}

/// Machine addresses of a role's map of ports and of the map of MSRs.
pub fn of(role: Role) -> (u64, u64) {
    let Some(maps) = MAPS.get() else {
        panic!("permission maps are used before they are made");
    };
    let maps = maps.lock();
    let ports = match role {
        Role::Control => maps.open_ports.address(),
        Role::Guest => maps.closed_ports.address(),
    };
    (ports, maps.msrs.address())
}

/// Hides a UART's ports from the control domain, or none.
pub fn hide_uart(first: Option<u16>) {
    if let Some(maps) = MAPS.get() {
        ports::open(maps.lock().open_ports.bytes(), first);
    }
}
