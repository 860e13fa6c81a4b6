// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handshake with the guest: what it asks for is copied once, checked, put
//! in force, noted in the state, and only then told, so that a successor of a
//! killed backend finds either the request or its answer.

use super::{Device, Service, rings};
use crate::Error;
use hv_io::slot::{
    DeviceHead, DriverHalf, QueueOffer, VENDOR, VERSION, check_features, check_queue,
};
use hv_io::{Fault, feature, status};

/// Features of every device here.
const COMMON: u64 = feature::VERSION_1 | feature::RING_EVENT_IDX | feature::RING_INDIRECT_DESC;

/// Bits a guest may set.
const DRIVER_BITS: u32 =
    status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK | status::FAILED;

impl Service {
    /// Fills the page, or goes on where a predecessor stopped.
    pub(super) fn appear(&mut self, device: &mut dyn Device) -> Result<(), Error> {
        let offer = device.offer();
        self.offered = offer.features | COMMON;
        let max_size = offer.queue_size.min(crate::track::SIZE_MAX);
        self.queue_size = max_size;
        self.in_order = device.in_order();
        if self.state.published() {
            self.slot.resume()?;
            // A file may have grown meanwhile.
            self.slot.configure(&offer.config)?;
            self.resume(device)?;
            let _ = self.config_port.send();
            return Ok(());
        }
        let file = &self.files.device;
        let head = DeviceHead {
            magic: hv_io::slot::MAGIC,
            version: VERSION,
            device_id: offer.device_id,
            vendor_id: VENDOR,
            incarnation: file.incarnation,
            state: hv_io::slot::state::PRESENT,
            features_lo: self.offered,
            queues: file.queue_ports.len() as u32,
            config_len: offer.config.len() as u32,
            config_port: file.config_port,
            backend_domain: hv_abi::DOM_CONTROL.into(),
            ..DeviceHead::default()
        };
        let queue = |port: &u32| QueueOffer { port: *port, max_size, reserved: 0 };
        let offers: Vec<_> = file.queue_ports.iter().map(queue).collect();
        self.slot.publish(&head, &offer.config, &offers)?;
        self.state.publish();
        Ok(())
    }

    fn resume(&mut self, device: &mut dyn Device) -> Result<(), Error> {
        if self.state.runs() {
            match rings(self, true) {
                Ok(queues) => device.start(self.state.features(), queues),
                Err(fault) => self.quarantine(fault, "after a restart: ")?,
            }
        }
        self.slot.set_status(self.state.status())?;
        self.slot.set_answered(self.state.answered())
    }

    /// Acts upon the guest's latest request, if it is a new one.
    pub(super) fn handshake(&mut self, device: &mut dyn Device) -> Result<(), Error> {
        if self.slot.request()? == self.state.answered() {
            return Ok(());
        }
        let half = self.slot.driver()?;
        let request = half.head.drv_seq;
        let had = self.state.status();
        let now = match self.advance(device, &half, had) {
            Ok(now) => now,
            Err(fault) => {
                device.stop();
                self.blame(fault, "");
                had | status::NEEDS_RESET
            }
        };
        self.state.set_status(now);
        self.slot.set_status(now)?;
        self.state.set_answered(request);
        self.slot.set_answered(request)?;
        let _ = self.config_port.send();
        if now != had {
            self.tell_state();
        }
        Ok(())
    }

    /// The status after a request.
    fn advance(
        &mut self,
        device: &mut dyn Device,
        half: &DriverHalf,
        had: u32,
    ) -> Result<u32, Fault> {
        let wanted = half.head.status & DRIVER_BITS;
        if wanted == 0 {
            device.stop();
            self.forget_reports();
            self.fault = None;
            self.held.clear();
            return Ok(0);
        }
        if had & status::NEEDS_RESET != 0 {
            return Ok(had);
        }
        if wanted & status::FAILED != 0 {
            device.stop();
            return Ok(wanted & !status::DRIVER_OK);
        }
        if wanted & status::FEATURES_OK != 0 && had & status::FEATURES_OK == 0 {
            // Not accepting is how a device says no (virtio 1.2, 3.1.1).
            match check_features(&half.head, self.offered) {
                Ok(features) => self.state.set_up(features, &[]),
                Err(_) => return Ok(wanted & !(status::FEATURES_OK | status::DRIVER_OK)),
            }
        }
        if wanted & status::DRIVER_OK != 0 && had & status::DRIVER_OK == 0 {
            if wanted & status::FEATURES_OK == 0 {
                return Err(Fault::Order);
            }
            let setups = half.queues.iter().take(self.ports.len());
            let places: Result<Vec<_>, Fault> =
                setups.map(|setup| check_queue(setup, self.queue_size)).collect();
            self.state.set_up(self.state.features(), &places?);
            let queues = rings(self, false)?;
            // In force before the first request is taken.
            self.state.set_status(wanted);
            device.start(self.state.features(), queues);
        }
        Ok(wanted)
    }

    fn blame(&mut self, fault: Fault, context: &str) {
        let text = format!("{context}{fault}");
        eprintln!("quarantined: {text}");
        self.fault = Some(text);
    }

    /// Serves the guest no more until it resets the device.
    pub(super) fn quarantine(&mut self, fault: Fault, context: &str) -> Result<(), Error> {
        self.blame(fault, context);
        let now = self.state.status() | status::NEEDS_RESET;
        self.state.set_status(now);
        self.slot.set_status(now)?;
        let _ = self.config_port.send();
        self.tell_state();
        Ok(())
    }
}
