// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events on their way into a vCPU: what the core injects, and what an exit
//! cut short in its delivery. Nothing that is put in is lost, except that an
//! exception displaces another exception, as it does on a CPU.
//!
//! Software interrupts never come here: when their delivery is cut, RIP still
//! is at the instruction, which simply runs again.

use crate::exit::Event;

/// Waiting events of one vCPU.
#[derive(Debug, Default)]
pub struct Queue {
    next: Option<Event>,
    /// An interrupt that an exception has overtaken.
    later: Option<Event>,
    nmi: bool,
}

/// What a vCPU would take now.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Interrupts: IF is set and there is no shadow.
    pub interrupt: bool,
    /// NMIs.
    pub nmi: bool,
}

impl Queue {
    /// Empty.
    pub const fn new() -> Self {
        Self { next: None, later: None, nmi: false }
    }

    /// Puts an event in: an exception first, an NMI when NMIs are open.
    pub fn put(&mut self, event: Event) {
        match event {
            Event::Nmi => self.nmi = true,
            Event::Exception(..) => {
                if matches!(self.next, Some(Event::Interrupt(_))) {
                    self.later = self.next;
                }
                self.next = Some(event);
            }
            Event::Interrupt(_) if self.next.is_none() => self.next = Some(event),
            Event::Interrupt(_) => {
                debug_assert!(self.later.is_none(), "interrupt injected while one is pending");
                self.later = Some(event);
            }
        }
    }

    /// The event for the coming entry. `open`: an interrupt, an NMI could be
    /// taken now. An interrupt that an exception has overtaken may find them
    /// closed by the exception's handler.
    pub fn take(&mut self, open: Open) -> Option<Event> {
        if matches!(self.next, Some(Event::Exception(..))) || self.next.is_some() && open.interrupt
        {
            let event = self.next.take();
            self.next = self.later.take();
            return event;
        }
        if self.nmi && open.nmi {
            self.nmi = false;
            return Some(Event::Nmi);
        }
        None
    }

    /// An interrupt waits that was not taken.
    pub fn interrupt(&self) -> bool {
        matches!(self.next, Some(Event::Interrupt(_)))
    }

    /// Something other than an NMI waits: no further interrupt may be put in.
    pub fn busy(&self) -> bool {
        self.next.is_some()
    }

    /// An NMI waits.
    pub fn nmi(&self) -> bool {
        self.nmi
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{GENERAL_PROTECTION, INVALID_OPCODE};

    #[test]
    fn an_exception_overtakes_an_interrupt_and_loses_none() {
        let mut queue = Queue::new();
        queue.put(Event::Interrupt(0x31));
        queue.put(INVALID_OPCODE);
        queue.put(GENERAL_PROTECTION);
        queue.put(Event::Nmi);
        let all = Open { interrupt: true, nmi: true };
        let none = Open { interrupt: false, nmi: false };
        assert!(queue.busy());
        assert_eq!(queue.take(none), Some(GENERAL_PROTECTION));
        assert_eq!(queue.take(none), None);
        assert!(queue.interrupt() && queue.nmi());
        assert_eq!(queue.take(all), Some(Event::Interrupt(0x31)));
        assert!(queue.nmi() && !queue.busy());
        assert_eq!(queue.take(none), None);
        assert_eq!(queue.take(all), Some(Event::Nmi));
        assert_eq!(queue.take(all), None);
    }
}
