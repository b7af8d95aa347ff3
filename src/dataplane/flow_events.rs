//! What happened to flows, for whoever keeps a copy: the next process, another node, a log.

use std::collections::VecDeque;

use super::flows::End;
use super::{FlowEntry, FlowMeter};

/// What happened to a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowEventKind {
    /// Its first packet came.
    Created,
    /// Its TCP handshake was completed.
    Established,
    /// Its entry ended.
    Ended,
}

/// A flow's entry as it was when something happened to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowEvent {
    /// What happened.
    pub kind: FlowEventKind,
    /// The entry after it; when it ended, its last state.
    pub entry: FlowEntry,
    /// Of one that ended: why.
    pub end: Option<End>,
    /// Of one that ended: what it moved, where that is counted.
    pub meter: Option<FlowMeter>,
}

/// Events that nobody has taken yet: at most so many, and none when that is 0.
#[derive(Debug)]
pub(super) struct FlowEvents {
    waiting: VecDeque<FlowEvent>,
    most: usize,
}

impl FlowEvents {
    pub(super) fn new(most: usize) -> FlowEvents {
        FlowEvents { waiting: VecDeque::with_capacity(most), most }
    }

    /// Does nobody want events?
    #[inline]
    pub(super) fn is_off(&self) -> bool {
        self.most == 0
    }

    /// Writes an event; `false` when it is lost for want of room.
    #[inline]
    pub(super) fn push(&mut self, event: FlowEvent) -> bool {
        if self.most == 0 {
            return true;
        }
        let fits = self.waiting.len() < self.most;
        if fits {
            self.waiting.push_back(event);
        }
        fits
    }

    /// The oldest event.
    pub(super) fn pop(&mut self) -> Option<FlowEvent> {
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_in_order_and_off() {
        let mut events = FlowEvents::new(2);
        let event = |kind, backend| FlowEvent {
            kind,
            entry: FlowEntry { backend, ..FlowEntry::FREE },
            end: None,
            meter: None,
        };
        let created = |number| event(FlowEventKind::Created, number);
        let fits: Vec<bool> = (0..3).map(|number| events.push(created(number))).collect();
        assert_eq!(fits, [true, true, false]);
        assert_eq!(events.pop().map(|event| event.entry.backend), Some(0));
        assert!(events.push(event(FlowEventKind::Ended, 3)));
        assert_eq!(events.pop().map(|event| event.entry.backend), Some(1));
        assert_eq!(events.pop().map(|event| event.kind), Some(FlowEventKind::Ended));
        let mut off = FlowEvents::new(0);
        assert!(off.push(created(0)) && off.pop().is_none());
    }
}
