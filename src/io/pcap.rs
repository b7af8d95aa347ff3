//! A device over capture files: what was captured is received, what is transmitted is written.
//!
//! Knows no clock: a capture carries its own. [`PcapDevice::next_tick`] tells when the next frame
//! was captured, and [`Device::receive`] never gives frames of two milliseconds in one batch, so
//! that one reading of the clock is right for all of a batch; [`PcapDevice::give_until`] lets the
//! user's clock tick between two frames. A frame that is sent on bears the time at which it was
//! captured, to the nanosecond.

use std::io::{Read, Write};
use std::time::Duration;

use pcap_file::TsResolution;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

use super::capture::{CaptureReader, Record};
use super::chunks::Chunks;
use super::{
    Batch, ChunkOptions, Device, DeviceStatistics, Frame, FrameCensus, PcapError, QueueStatistics,
};
use crate::wire::{FrameView, MacAddress, PortId};

/// A port that captured frames may have come in by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcapPort {
    /// Its name.
    pub name: String,
    /// Frames to this address came in by it.
    pub mac: MacAddress,
}

/// How a capture is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcapOptions {
    /// Ports, in the order of their ids; at least one.
    pub ports: Vec<PcapPort>,
    /// All frames came in by this port. None: by the port whose MAC they are for, else the first.
    pub arrival: Option<PortId>,
    /// Memory.
    pub chunks: ChunkOptions,
}

impl PcapOptions {
    /// Memory for any frame that fits into a capture of 64 KiB a frame.
    pub fn new(ports: Vec<PcapPort>) -> PcapOptions {
        let chunks = ChunkOptions {
            chunks: 256,
            chunk_bytes: 256 + 65_536,
            headroom_bytes: 256,
            fill: 128,
            transmit: 128,
        };
        PcapOptions { ports, arrival: None, chunks }
    }
}

#[derive(Debug)]
struct PortCounts {
    port: PcapPort,
    received: u64,
    transmitted: u64,
    transmit_full: u64,
    too_long: u64,
}

/// A capture that is received and one that is written.
pub struct PcapDevice<R: Read, W: Write> {
    reader: CaptureReader<R>,
    /// None after the end.
    writer: Option<PcapWriter<W>>,
    next: Option<Record>,
    /// Frames captured after this millisecond are not given yet; none: no frame is.
    give_until: Option<u128>,
    /// The first problem there was; nothing is read after it.
    problem: Option<PcapError>,
    ports: Vec<PortCounts>,
    arrival: Option<PortId>,
    chunks: Chunks,
    /// When the frame in each chunk was captured.
    captured: Vec<Duration>,
    now: Duration,
    truncated: u64,
}

impl<R: Read, W: Write> std::fmt::Debug for PcapDevice<R, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PcapDevice").field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl<R: Read, W: Write> PcapDevice<R, W> {
    /// Reads the header of `input` and the first frame, writes the header of `output`.
    ///
    /// # Errors
    /// When `input` is not a pcap file of Ethernet frames, or `output` cannot be written.
    pub fn new(input: R, output: W, options: PcapOptions) -> Result<Self, PcapError> {
        let reader = CaptureReader::new(input)?;
        let chunks = Chunks::new(options.chunks, 1);
        let header = PcapHeader {
            snaplen: chunks.max_frame_len() as u32,
            ts_resolution: reader.resolution(),
            // The same bytes on every machine.
            endianness: pcap_file::Endianness::Little,
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(output, header).map_err(PcapError::of_output)?;
        let counts =
            |port| PortCounts { port, received: 0, transmitted: 0, transmit_full: 0, too_long: 0 };
        let mut device = PcapDevice {
            reader,
            writer: Some(writer),
            next: None,
            give_until: Some(u128::MAX),
            problem: None,
            ports: options.ports.into_iter().map(counts).collect(),
            arrival: options.arrival,
            captured: vec![Duration::ZERO; options.chunks.chunks as usize],
            chunks,
            now: Duration::ZERO,
            truncated: 0,
        };
        device.advance();
        device.now = device.next.as_ref().map_or(Duration::ZERO, |record| record.time);
        Ok(device)
    }

    /// The millisecond of the next frame's capture; none at the end.
    pub fn next_tick(&self) -> Option<u128> {
        self.next.as_ref().map(|record| record.time.as_millis())
    }

    /// Frames captured after this millisecond (or all) are held back, until it is set anew.
    pub fn give_until(&mut self, tick: Option<u128>) {
        self.give_until = tick;
    }

    /// Records that hold less than was on the wire, since the capture was made with a snap length.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Unit of the capture's time stamps, and of those written.
    pub fn resolution(&self) -> TsResolution {
        self.reader.resolution()
    }

    /// Ends the output; frames that are transmitted after this are not written.
    ///
    /// # Errors
    /// The first problem there was in reading or writing.
    pub fn finish(&mut self) -> Result<Option<W>, PcapError> {
        self.flush();
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        let mut output = self.writer.take().map(PcapWriter::into_writer);
        if let Some(output) = &mut output {
            output.flush().map_err(PcapError::Output)?;
        }
        Ok(output)
    }

    /// Reads one record ahead.
    fn advance(&mut self) {
        self.next = if self.problem.is_some() { None } else { self.read_ahead() };
    }

    fn read_ahead(&mut self) -> Option<Record> {
        match self.reader.next() {
            Ok(record) => record,
            Err(problem) => {
                self.problem = Some(problem);
                None
            }
        }
    }

    fn port_of(&self, bytes: &[u8]) -> PortId {
        let is_for = |counts: &PortCounts| bytes.starts_with(&counts.port.mac.0);
        let place = || self.ports.iter().position(is_for).unwrap_or(0);
        self.arrival.unwrap_or_else(|| PortId(place() as u8))
    }
}

impl<R: Read, W: Write> Device for PcapDevice<R, W> {
    fn ports(&self) -> Vec<PortId> {
        (0..self.ports.len()).map(|port| PortId(port as u8)).collect()
    }

    /// Frames of the next millisecond only; frames whose time goes back count to it too.
    fn receive(&mut self, batch: &mut Batch) -> usize {
        let before = batch.len();
        let Some(tick) = self.next_tick().filter(|&tick| Some(tick) <= self.give_until) else {
            return 0;
        };
        while !batch.is_full() && self.chunks.has_fill() {
            let Some(record) = self.next.take_if(|record| record.time.as_millis() <= tick) else {
                break;
            };
            self.advance();
            self.now = self.now.max(record.time);
            self.truncated += u64::from(record.is_truncated);
            let port = self.port_of(&record.bytes);
            let frame = self.chunks.receive(port, &record.bytes);
            let Some(counts) = self.ports.get_mut(port.index()) else { continue };
            let Some(frame) = frame else {
                counts.too_long += 1;
                continue;
            };
            counts.received += 1;
            if let Some(captured) = self.captured.get_mut(frame.chunk as usize) {
                *captured = record.time;
            }
            batch.push(frame);
        }
        batch.len() - before
    }

    fn view<'a>(&'a mut self, frame: &'a Frame) -> FrameView<'a> {
        self.chunks.view(frame)
    }

    fn transmit(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        let Some(counts) = self.ports.get_mut(port.index()) else { return Err(frame) };
        let queued = self.chunks.queue(0, port, frame);
        match queued {
            Ok(()) => counts.transmitted += 1,
            Err(_) => counts.transmit_full += 1,
        }
        queued
    }

    /// Writes all queued frames. When that fails, [`PcapDevice::finish`] says so.
    fn flush(&mut self) {
        while let Some((chunk, bytes)) = self.chunks.oldest(0) {
            let time = self.captured.get(chunk as usize).copied().unwrap_or(self.now);
            let packet = PcapPacket::new(time, bytes.len() as u32, bytes);
            let written = self.writer.as_mut().map(|writer| writer.write_packet(&packet));
            self.chunks.complete(0);
            if let Some(Err(error)) = written {
                self.problem.get_or_insert(PcapError::of_output(error));
            }
        }
    }

    fn acquire(&mut self, port: PortId, len: usize) -> Option<Frame> {
        let frame = self.chunks.acquire(port, len)?;
        if let Some(captured) = self.captured.get_mut(frame.chunk as usize) {
            *captured = self.now;
        }
        Some(frame)
    }

    fn release(&mut self, frame: Frame) {
        self.chunks.release(frame);
    }

    fn reclaim(&mut self) {
        self.chunks.reclaim();
    }

    fn census(&self) -> FrameCensus {
        self.chunks.census()
    }

    fn recover_lost_frames(&mut self) -> usize {
        self.chunks.recover_lost()
    }

    /// Returns at once: all frames there will ever be are there.
    fn wait(&mut self, _timeout: Duration) {}

    fn statistics(&self) -> DeviceStatistics {
        let queue = |counts: &PortCounts| QueueStatistics {
            interface: counts.port.name.clone(),
            mode: "pcap".into(),
            received: counts.received,
            transmitted: counts.transmitted,
            transmit_full: counts.transmit_full,
            rx_dropped: counts.too_long,
            ..QueueStatistics::default()
        };
        DeviceStatistics {
            queues: self.ports.iter().map(queue).collect(),
            ..DeviceStatistics::default()
        }
    }
}

#[cfg(test)]
#[path = "pcap_tests.rs"]
mod tests;
