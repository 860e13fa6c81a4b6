// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network card as a [`Device`] of the framework: on the main thread, with
//! a thread for each pair of queues.

use crate::card::{Card, Mailbox, Order, Way, Work};
use crate::control::Active;
use crate::pair::Pair;
use crate::settings::Settings;
use crate::stats::Figures;
use hv_backend::throttle::Limits;
use hv_backend::{Command, Device, Error, Offer, Report, Reporter, Ring, Started};
use hv_client::tap::Tap;
use hv_client::uring;
use hv_io::device_id;
use hv_io::net::feature;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use zerocopy::IntoBytes;

/// Entries of a queue.
const QUEUE_SIZE: u16 = 256;

/// See the module.
pub struct Net {
    card: Arc<Card>,
    mailboxes: Vec<Mailbox>,
    active: Arc<Active>,
    reporter: Reporter,
    serving: bool,
}

impl Net {
    /// Starts a thread for each pair, which has its queue of the tap.
    pub fn new(
        settings: Settings,
        taps: Vec<Tap>,
        active: Active,
        reporter: Reporter,
    ) -> Result<Self, Error> {
        let (card, active) = (Arc::new(Card::new(settings)), Arc::new(active));
        let mut mailboxes = Vec::new();
        let mut receivers = Vec::new();
        for _ in &taps {
            let (orders, receiver) = channel();
            mailboxes.push(Mailbox { orders, bell: uring::blocking_eventfd()? });
            receivers.push(receiver);
        }
        for (index, (tap, orders)) in taps.into_iter().zip(receivers).enumerate() {
            if index > 0 {
                // Nobody reads from it until the guest says that it uses it.
                let _ = tap.attach(false);
            }
            let pair = Pair {
                index,
                tap,
                card: card.clone(),
                mailboxes: mailboxes.clone(),
                orders,
                reporter: reporter.clone(),
                active: active.clone(),
            };
            std::thread::Builder::new()
                .name(format!("pair-{index}"))
                .spawn(move || pair.run())
                .map_err(|e| Error::system("start a thread", e))?;
        }
        Ok(Self { card, mailboxes, active, reporter, serving: false })
    }

    fn look(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(Order::Look));
    }

    /// Limits in a request, for the ways it names.
    fn set_limits(&self, request: &Value) -> Result<(), String> {
        for (way, key) in [(Way::Send, "send"), (Way::Receive, "receive")] {
            if let Some(value) = request.get(key) {
                let limits: Limits =
                    serde_json::from_value(value.clone()).map_err(|e| format!("{key}: {e}"))?;
                self.card.set_limits(way, limits);
            }
        }
        self.look();
        Ok(())
    }
}

impl Device for Net {
    fn offer(&self) -> Offer {
        let settings = &self.card.settings;
        Offer {
            device_id: device_id::NET,
            features: settings.features(),
            config: settings.config(self.card.link()).as_bytes().to_vec(),
            queue_size: QUEUE_SIZE,
        }
    }

    fn in_order(&self) -> bool {
        true
    }

    fn start(&mut self, features: u64, queues: Vec<Started>) {
        let several = features & feature::MQ != 0;
        let pairs = if several { self.mailboxes.len() } else { 1 };
        // Without several pairs the control queue comes right behind the first.
        let control = 2 * pairs;
        let mut rings: Vec<Option<Ring>> = (0..=control).map(|_| None).collect();
        let resumed = queues.iter().any(|queue| queue.ring.is_resumed());
        for queue in queues {
            if let Some(slot) = rings.get_mut(queue.index) {
                *slot = Some(queue.ring);
            }
        }
        if !resumed {
            self.active.set(1);
        }
        let active = if several { self.active.get() } else { 1 };
        let mut control = rings.pop().flatten();
        let mut rings = rings.into_iter();
        for (index, mailbox) in self.mailboxes.iter().enumerate().take(pairs) {
            let (Some(receive), Some(send)) = (rings.next().flatten(), rings.next().flatten())
            else {
                continue;
            };
            let control = control.take();
            let active = index < active;
            let work = Work { receive, send, control, features, active };
            mailbox.put(Order::Serve(Box::new(work)));
        }
        self.serving = true;
    }

    fn stop(&mut self) {
        if !std::mem::take(&mut self.serving) {
            return;
        }
        for mailbox in &self.mailboxes {
            let (done, stopped) = sync_channel(1);
            mailbox.put(Order::Stop(done));
            if stopped.recv().is_err() {
                self.reporter.send(Report::Broken("a thread has ended".into()));
            }
        }
    }

    fn command(&mut self, verb: &str, request: &Value) -> Result<Command, String> {
        let mut command = Command { answer: json!({}), config: None };
        match verb {
            "link" => {
                let up = request.get("up").and_then(Value::as_bool).ok_or("`up` is missing")?;
                self.card.set_link(up);
                self.look();
                command.config = Some(self.card.settings.config(up).as_bytes().to_vec());
            }
            "limits" => self.set_limits(request)?,
            _ => return Err(format!("a network card can't `{verb}`")),
        }
        Ok(command)
    }

    fn stats(&self) -> Value {
        let stats = &self.card.stats;
        json!({
            "send": Figures::sum(stats.iter().map(|s| &s.send)),
            "receive": Figures::sum(stats.iter().map(|s| &s.receive)),
            "link": self.card.link(),
            "pairs": self.active.get(),
        })
    }
}
