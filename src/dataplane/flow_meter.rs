//! What each flow moved, for records of flows that have ended.

use super::flow_table::FlowPlace;
use super::{Side, Traffic};

/// What one flow moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowMeter {
    /// Low 32 bits of its first packet's [`super::Ticks`].
    pub began_ms: u32,
    /// Its packets and bytes.
    pub traffic: Traffic,
}

/// A meter for each place of the flow table; none at all when nobody wants them.
#[derive(Debug)]
pub(super) struct FlowMeters {
    by_place: Box<[FlowMeter]>,
}

impl FlowMeters {
    pub(super) fn new(max_flows: usize, is_wanted: bool) -> FlowMeters {
        let places = if is_wanted { max_flows } else { 0 };
        FlowMeters { by_place: vec![FlowMeter::default(); places].into_boxed_slice() }
    }

    /// A flow begins.
    #[inline]
    pub(super) fn begin(&mut self, place: FlowPlace, now_ms: u32) {
        if let Some(meter) = self.by_place.get_mut(place.0 as usize) {
            *meter = FlowMeter { began_ms: now_ms, traffic: Traffic::default() };
        }
    }

    /// A packet of the flow went by.
    #[inline(always)]
    pub(super) fn count(&mut self, place: FlowPlace, from: Side, frame_len: usize) {
        if let Some(meter) = self.by_place.get_mut(place.0 as usize) {
            meter.traffic.count(from, frame_len);
        }
    }

    /// What it moved so far; none when nothing is counted.
    pub(super) fn get(&self, place: FlowPlace) -> Option<FlowMeter> {
        self.by_place.get(place.0 as usize).copied()
    }
}
