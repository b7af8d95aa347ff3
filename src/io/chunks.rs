//! Frames in plain memory: the part that the memory and the pcap device have in common.
//!
//! Every chunk is in one place at any time. A chunk that is moved from where it is not (released
//! twice, say, or given to the wrong device) is a programmer's error and stops the program.

use std::collections::VecDeque;

use super::{Frame, FrameCensus};
use crate::wire::{FrameView, PortId};

/// How much memory, and how it is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkOptions {
    /// Number of chunks: the most frames there are at a time.
    pub chunks: u32,
    /// Bytes of a chunk, the room in front included.
    pub chunk_bytes: u32,
    /// Room in front of a received or acquired frame.
    pub headroom_bytes: u32,
    /// Chunks kept ready for received frames; the rest can be acquired.
    pub fill: u32,
    /// Most frames in a transmit ring.
    pub transmit: u32,
}

impl Default for ChunkOptions {
    /// As the AF_XDP device has it, but small.
    fn default() -> Self {
        ChunkOptions {
            chunks: 512,
            chunk_bytes: 2048,
            headroom_bytes: 256,
            fill: 256,
            transmit: 256,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Fill,
    InHand,
    Transmit,
    Completion,
    Free,
}

/// The chunks and the rings they stand in.
#[derive(Debug)]
pub(in crate::io) struct Chunks {
    options: ChunkOptions,
    memory: Vec<u8>,
    places: Vec<Place>,
    fill: VecDeque<u32>,
    in_hand: u32,
    rings: Vec<VecDeque<Frame>>,
    completion: Vec<u32>,
    free: Vec<u32>,
}

impl Chunks {
    /// All memory, with `rings` transmit rings.
    ///
    /// # Panics
    /// When a chunk has no room for a frame behind its headroom.
    pub fn new(options: ChunkOptions, rings: usize) -> Chunks {
        assert!(options.headroom_bytes < options.chunk_bytes, "no room for frames: {options:?}");
        let count = options.chunks as usize;
        let ring = || VecDeque::with_capacity(options.transmit as usize);
        let mut chunks = Chunks {
            options,
            memory: vec![0; count * options.chunk_bytes as usize],
            places: vec![Place::Free; count],
            fill: VecDeque::with_capacity(options.fill as usize),
            in_hand: 0,
            rings: std::iter::repeat_with(ring).take(rings).collect(),
            completion: Vec::with_capacity(count),
            free: (0..options.chunks).rev().collect(),
        };
        chunks.reclaim();
        chunks
    }

    /// Longest frame that can be received or acquired.
    pub fn max_frame_len(&self) -> usize {
        (self.options.chunk_bytes - self.options.headroom_bytes) as usize
    }

    /// Is there a chunk for a received frame?
    pub fn has_fill(&self) -> bool {
        !self.fill.is_empty()
    }

    /// A received frame; none when there is no chunk for it, or it is too long for one.
    pub fn receive(&mut self, port: PortId, bytes: &[u8]) -> Option<Frame> {
        if bytes.len() > self.max_frame_len() {
            return None;
        }
        let chunk = self.fill.pop_front()?;
        self.take(chunk, Place::Fill);
        let frame = self.frame(port, chunk, bytes.len());
        self.view(&frame).bytes_mut().copy_from_slice(bytes);
        Some(frame)
    }

    /// A frame to be filled and sent; its bytes are what stood there.
    pub fn acquire(&mut self, port: PortId, len: usize) -> Option<Frame> {
        if len > self.max_frame_len() {
            return None;
        }
        let chunk = self.free.pop()?;
        self.take(chunk, Place::Free);
        Some(self.frame(port, chunk, len))
    }

    /// A frame's bytes.
    pub fn view<'a>(&'a mut self, frame: &'a Frame) -> FrameView<'a> {
        let len = self.options.chunk_bytes as usize;
        let begin = frame.chunk as usize * len;
        let chunk = &mut self.memory[begin..begin + len];
        FrameView::new(chunk, frame.offset as usize, frame.len as usize)
    }

    /// Puts a frame into a transmit ring.
    ///
    /// # Errors
    /// The frame, when the ring is full.
    pub fn queue(&mut self, ring: usize, port: PortId, mut frame: Frame) -> Result<(), Frame> {
        let Some(queue) = self.rings.get_mut(ring) else { return Err(frame) };
        if queue.len() >= self.options.transmit as usize {
            return Err(frame);
        }
        give_back(&mut self.places, &mut self.in_hand, frame.chunk, Place::Transmit);
        frame.port = port;
        queue.push_back(frame);
        Ok(())
    }

    /// The frame that a transmit ring sends next: its chunk and its bytes.
    pub fn oldest(&self, ring: usize) -> Option<(u32, &[u8])> {
        let frame = self.rings.get(ring)?.front()?;
        let begin = frame.chunk as usize * self.options.chunk_bytes as usize;
        let begin = begin + frame.offset as usize;
        Some((frame.chunk, self.memory.get(begin..begin + frame.len as usize)?))
    }

    /// The oldest frame of a transmit ring was sent.
    pub fn complete(&mut self, ring: usize) {
        let Some(frame) = self.rings.get_mut(ring).and_then(VecDeque::pop_front) else { return };
        move_chunk(&mut self.places, frame.chunk, Place::Transmit, Place::Completion);
        self.completion.push(frame.chunk);
    }

    /// Gives a frame back.
    pub fn release(&mut self, frame: Frame) {
        give_back(&mut self.places, &mut self.in_hand, frame.chunk, Place::Free);
        self.free.push(frame.chunk);
    }

    /// Completed chunks become free, free ones refill the fill ring.
    pub fn reclaim(&mut self) {
        for chunk in self.completion.drain(..) {
            move_chunk(&mut self.places, chunk, Place::Completion, Place::Free);
            self.free.push(chunk);
        }
        while self.fill.len() < self.options.fill as usize {
            let Some(chunk) = self.free.pop() else { break };
            move_chunk(&mut self.places, chunk, Place::Free, Place::Fill);
            self.fill.push_back(chunk);
        }
    }

    /// With no frame in hand any more: chunks of frames that somebody dropped become free. Gives
    /// how many.
    pub fn recover_lost(&mut self) -> usize {
        let lost = std::mem::take(&mut self.in_hand);
        for (chunk, place) in (0..).zip(&mut self.places) {
            if *place == Place::InHand {
                *place = Place::Free;
                self.free.push(chunk);
            }
        }
        lost as usize
    }

    /// Where the chunks are, counted by the rings they stand in.
    pub fn census(&self) -> FrameCensus {
        let queued: usize = self.rings.iter().map(VecDeque::len).sum();
        FrameCensus {
            total: self.options.chunks,
            fill: self.fill.len() as u32,
            in_hand: self.in_hand,
            transmit: (queued + self.completion.len()) as u32,
            free: self.free.len() as u32,
        }
    }

    fn frame(&self, port: PortId, chunk: u32, len: usize) -> Frame {
        Frame { port, chunk, offset: self.options.headroom_bytes, len: len as u32 }
    }

    fn take(&mut self, chunk: u32, from: Place) {
        move_chunk(&mut self.places, chunk, from, Place::InHand);
        self.in_hand += 1;
    }
}

fn give_back(places: &mut [Place], in_hand: &mut u32, chunk: u32, to: Place) {
    move_chunk(places, chunk, Place::InHand, to);
    *in_hand -= 1;
}

fn move_chunk(places: &mut [Place], chunk: u32, from: Place, to: Place) {
    let place = places.get_mut(chunk as usize);
    let Some(place) = place.filter(|place| **place == from) else {
        panic!("chunk {chunk} is not in {from:?}, so it cannot move to {to:?}");
    };
    *place = to;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Chunks {
        let options =
            ChunkOptions { chunks: 4, chunk_bytes: 64, headroom_bytes: 16, fill: 2, transmit: 1 };
        Chunks::new(options, 1)
    }

    #[test]
    fn a_chunk_goes_round() {
        let mut chunks = small();
        let census =
            |fill, in_hand, transmit, free| FrameCensus { total: 4, fill, in_hand, transmit, free };
        assert_eq!(chunks.census(), census(2, 0, 0, 2));
        let frame = chunks.receive(PortId(0), b"hello").unwrap();
        let other = chunks.acquire(PortId(0), 48).unwrap();
        assert_eq!(chunks.census(), census(1, 2, 0, 1));
        chunks.queue(0, PortId(0), frame).unwrap();
        let other = chunks.queue(0, PortId(0), other).expect_err("the ring holds one");
        assert_eq!(chunks.oldest(0).unwrap().1, b"hello");
        chunks.complete(0);
        chunks.release(other);
        assert_eq!(chunks.census(), census(1, 0, 1, 2));
        chunks.reclaim();
        assert_eq!(chunks.census(), census(2, 0, 0, 2));
    }

    #[test]
    fn dropped_frames_are_found_again() {
        let mut chunks = small();
        let kept = chunks.receive(PortId(0), b"kept").unwrap();
        chunks.queue(0, PortId(0), kept).unwrap();
        let _ = chunks.receive(PortId(0), b"dropped").unwrap();
        let _ = chunks.acquire(PortId(0), 1).unwrap();
        assert_eq!(chunks.recover_lost(), 2);
        let census = chunks.census();
        assert!(census.is_conserved() && census.in_hand == 0 && census.transmit == 1);
        assert_eq!(chunks.recover_lost(), 0);
    }

    #[test]
    fn too_long_is_refused() {
        let mut chunks = small();
        assert_eq!(chunks.max_frame_len(), 48);
        assert!(chunks.receive(PortId(0), &[0; 49]).is_none());
        assert!(chunks.acquire(PortId(0), 49).is_none());
        assert_eq!(chunks.census().in_hand, 0);
    }

    #[test]
    #[should_panic(expected = "chunk 0 is not in InHand")]
    fn releasing_twice_stops_the_program() {
        let mut chunks = small();
        let frame = chunks.receive(PortId(0), b"x").unwrap();
        let twin = Frame { port: frame.port, chunk: frame.chunk, offset: 0, len: 0 };
        chunks.release(twin);
        chunks.release(frame);
    }
}
