// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk towards `hv-backend`: its configuration, its queues' threads, and the
//! commands of the control socket:
//!
//! | `do` | Members | What |
//! |---|---|---|
//! | `throttle` | `read`, `write` (`hv_backend::throttle::Limits`) | new limits |
//! | `resize` | `size`, in bytes, or none: look how large the image is now | tells the guest |
//! | `resume` | | tries again what was held back |

use crate::image::Image;
use crate::request::SEGMENTS_MAX;
use crate::settings::Settings;
use crate::worker::{Counters, Order, Shared, Worker};
use hv_backend::throttle::{Limits, Throttle};
use hv_backend::{Command, Device, Error, Offer, Service, Started, ring};
use hv_client::uring;
use hv_io::blk::{self, Config, feature};
use hv_io::device_id;
use serde::Deserialize;
use serde_json::{Value, json};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use zerocopy::IntoBytes;

/// Descriptors of a queue.
const QUEUE_SIZE: u16 = 256;

/// What is needed beyond what every backend needs.
pub const SYSTEM_CALLS: &[libc::c_long] = &[
    libc::SYS_clock_gettime,
    libc::SYS_ftruncate,
    libc::SYS_getrandom,
    libc::SYS_lseek,
    libc::SYS_sched_yield,
];

/// A queue's thread, as the main thread sees it.
struct Handle {
    orders: Sender<Order>,
    signal: Arc<OwnedFd>,
    counters: Arc<Counters>,
}

impl Handle {
    fn order(&self, order: Order) {
        // A thread that is gone has reported why.
        if self.orders.send(order).is_ok() {
            let _ = uring::signal(&self.signal);
        }
    }
}

/// See the module.
pub struct Disk {
    shared: Arc<Shared>,
    queues: Vec<Handle>,
}

impl Disk {
    /// Starts the threads.
    pub fn new(service: &Service, image: Image, settings: Settings) -> Result<Self, Error> {
        let size = image.size().map_err(|e| Error::system("look at the image", e))?;
        let throttles = Mutex::new([Throttle::new(settings.read), Throttle::new(settings.write)]);
        let shared = Arc::new(Shared {
            image,
            settings,
            capacity: AtomicU64::new(size),
            throttles,
            began: Instant::now(),
            reporter: service.reporter(),
        });
        let count = service.files().device.queue_ports.len();
        let queues = (0..count).map(|index| Self::spawn(service, &shared, index));
        Ok(Self { queues: queues.collect::<Result<_, _>>()?, shared })
    }

    fn spawn(service: &Service, shared: &Arc<Shared>, index: usize) -> Result<Handle, Error> {
        let (orders, receiver) = channel();
        let (ready, made) = channel();
        let signal = uring::blocking_eventfd()?;
        let counters = Arc::new(Counters::default());
        let memory = service.memory().clone();
        let (shared, own, its_signal) = (shared.clone(), counters.clone(), signal.clone());
        std::thread::Builder::new()
            .name(format!("queue-{index}"))
            .spawn(move || {
                // Made here: io_uring serves one thread.
                match Worker::new(shared, own, receiver, its_signal, memory, index) {
                    Ok(worker) => {
                        let _ = ready.send(Ok(()));
                        worker.run();
                    }
                    Err(e) => drop(ready.send(Err(e))),
                }
            })
            .map_err(|e| Error::system("start a thread", e))?;
        let ended = || Error::Settings("a queue's thread ended at once".into());
        made.recv().map_err(|_| ended())??;
        Ok(Handle { orders, signal, counters })
    }

    fn config(&self) -> Vec<u8> {
        let settings = &self.shared.settings;
        let sectors = u32::try_from(self.shared.capacity.load(Ordering::Relaxed) / blk::SECTOR)
            .unwrap_or(u32::MAX / 8 * 8)
            .min(1 << 22);
        Config {
            capacity: self.shared.capacity.load(Ordering::Relaxed) / blk::SECTOR,
            // Header and status come on top.
            seg_max: u32::from(QUEUE_SIZE).min(ring::DESCRIPTORS_MAX as u32) - 2,
            blk_size: settings.block_size,
            physical_block_exp: if settings.block_size == 512 { 3 } else { 0 },
            num_queues: self.queues.len() as u16,
            max_discard_sectors: sectors,
            max_discard_seg: SEGMENTS_MAX as u32,
            discard_sector_alignment: settings.block_size / blk::SECTOR as u32,
            max_write_zeroes_sectors: sectors,
            max_write_zeroes_seg: SEGMENTS_MAX as u32,
            write_zeroes_may_unmap: u8::from(settings.discard),
            ..Config::default()
        }
        .as_bytes()
        .to_vec()
    }

    fn throttle(&self, request: &Value) -> Result<Command, String> {
        #[derive(Deserialize)]
        struct Request {
            read: Option<Limits>,
            write: Option<Limits>,
        }
        let new: Request = Deserialize::deserialize(request).map_err(|e| e.to_string())?;
        {
            let mut throttles =
                self.shared.throttles.lock().unwrap_or_else(PoisonError::into_inner);
            for (throttle, limits) in throttles.iter_mut().zip([new.read, new.write]) {
                if let Some(limits) = limits {
                    *throttle = Throttle::new(limits);
                }
            }
        }
        self.queues.iter().for_each(|queue| queue.order(Order::Look));
        Ok(Command::default())
    }

    fn resize(&self, request: &Value) -> Result<Command, String> {
        let image = &self.shared.image;
        if let Some(size) = request.get("size").and_then(Value::as_u64) {
            if self.shared.settings.read_only {
                return Err("the disk is read-only".into());
            }
            if !size.is_multiple_of(self.shared.settings.block_size.into()) {
                return Err("the size is no whole number of sectors".into());
            }
            image.grow(size)?;
        }
        let size = image.size().map_err(|e| e.to_string())?;
        let size = size - size % u64::from(self.shared.settings.block_size);
        self.shared.capacity.store(size, Ordering::Relaxed);
        Ok(Command { answer: json!({ "bytes": size }), config: Some(self.config()) })
    }
}

impl Device for Disk {
    fn offer(&self) -> Offer {
        let settings = &self.shared.settings;
        let mut features = feature::SEG_MAX
            | feature::BLK_SIZE
            | feature::FLUSH
            | feature::TOPOLOGY
            | feature::WRITE_ZEROES;
        if settings.discard {
            features |= feature::DISCARD;
        }
        if settings.read_only {
            features &= !(feature::DISCARD | feature::WRITE_ZEROES);
            features |= feature::RO;
        }
        if self.queues.len() > 1 {
            features |= feature::MQ;
        }
        let (device_id, config) = (device_id::BLOCK, self.config());
        Offer { device_id, features, config, queue_size: QUEUE_SIZE }
    }

    fn start(&mut self, features: u64, queues: Vec<Started>) {
        for Started { index, ring } in queues {
            if let Some(queue) = self.queues.get(index) {
                queue.order(Order::Start(Box::new(ring), features));
            }
        }
    }

    fn stop(&mut self) {
        let (ack, acked) = channel();
        for queue in &self.queues {
            queue.order(Order::Stop(ack.clone()));
        }
        drop(ack);
        // Ends when every thread has answered or is gone.
        while acked.recv().is_ok() {}
    }

    fn command(&mut self, verb: &str, request: &Value) -> Result<Command, String> {
        match verb {
            "throttle" => self.throttle(request),
            "resize" => self.resize(request),
            "resume" => {
                self.queues.iter().for_each(|queue| queue.order(Order::Resume));
                Ok(Command::default())
            }
            _ => Err(format!("a disk cannot `{verb}`")),
        }
    }

    fn stats(&self) -> Value {
        let sum = |of: fn(&Counters) -> u64| -> u64 {
            self.queues.iter().map(|queue| of(&queue.counters)).sum()
        };
        json!({
            "capacity_bytes": self.shared.capacity.load(Ordering::Relaxed),
            "reads": sum(|c| c.reads.get()),
            "read_bytes": sum(|c| c.read_bytes.get()),
            "writes": sum(|c| c.writes.get()),
            "write_bytes": sum(|c| c.write_bytes.get()),
            "flushes": sum(|c| c.flushes.get()),
            "discards": sum(|c| c.discards.get()),
            "write_zeroes": sum(|c| c.write_zeroes.get()),
            "errors": sum(|c| c.errors.get()),
            "refused": sum(|c| c.refused.get()),
            "throttled": sum(|c| c.throttled.get()),
            "buffered": sum(|c| c.buffered.get()),
            "kicks": sum(|c| c.kicks.get()),
            "interrupts": sum(|c| c.interrupts.get()),
        })
    }
}
