//! Frames of many flows in a ring of chunks, made anew for each batch as a NIC would.

use guideway::wire::{Address, FlowKey, FrameView, Protocol, checksum};

/// Room in front of a frame, as AF_XDP leaves it.
pub const HEADROOM: usize = 256;
const CHUNK: usize = 2048;
/// Chunks in the ring.
pub const RING: usize = 1024;

/// Which IP version the frames are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }

    pub fn number(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }
}

/// What the flows' packets look like, as bytes before the parts that differ.
pub struct Frames {
    memory: Box<[[u8; CHUNK]; RING]>,
    template: Vec<u8>,
    family: Family,
    flows: u32,
    services: u32,
    /// For traffic from backends.
    back: Option<Back>,
}

/// Who sends each flow's packets, to which port: of each key what differs, so that making frames takes
/// as little of the cache as may be.
struct Back {
    first: FlowKey,
    flows: Vec<[u16; 3]>,
}

impl Back {
    fn new(keys: &[FlowKey]) -> Back {
        let parts = |key: &FlowKey| {
            let [source, destination] =
                [key.source, key.destination].map(|at| at.low_bits() as u16);
            [source, destination, key.destination_port]
        };
        Back { first: keys[0], flows: keys.iter().map(parts).collect() }
    }

    #[inline]
    fn key(&self, flow: u32) -> FlowKey {
        let [source, destination, destination_port] = self.flows[flow as usize];
        let at = |address: Address, low: u16| {
            Address::from_bits(address.bits() & !0xffff | u128::from(low))
        };
        FlowKey {
            source: at(self.first.source, source),
            destination: at(self.first.destination, destination),
            destination_port,
            ..self.first
        }
    }
}

/// The station frames come from, and ours.
const FROM: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];
const TO: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Frames {
    /// `flows`: a power of two.
    pub fn new(family: Family, flows: u32) -> Frames {
        let memory = vec![[0; CHUNK]; RING].into_boxed_slice().try_into();
        let mut frames = Frames {
            memory: memory.expect("as many chunks as were asked for"),
            template: Vec::new(),
            family,
            flows,
            services: 1,
            back: None,
        };
        frames.template = frames.build();
        frames
    }

    /// From here on flows belong to services in turn; before, all to the first.
    pub fn spread_over(&mut self, services: u32) {
        self.services = services;
    }

    /// From here on the frames are those of backends, and `keys` has one for each flow; with none,
    /// those of clients.
    pub fn turn_round(&mut self, keys: Option<&[FlowKey]>) {
        self.back = keys.map(Back::new);
    }

    /// The VIP of a service.
    pub fn vip(family: Family, service: u32) -> Address {
        match family {
            Family::V4 => Address::v4(0x0a01_6400 + service),
            Family::V6 => Address::from_bits(0xfd00_0001 << 96 | u128::from(service)),
        }
    }

    /// A client's address and port, all different.
    fn client(family: Family, flow: u32) -> (Address, u16) {
        let port = 1024 + (flow & 1023) as u16;
        let address = match family {
            Family::V4 => Address::v4(0x0b00_0000 + (flow >> 10)),
            Family::V6 => Address::from_bits(0xfd00_000b << 96 | u128::from(flow >> 10)),
        };
        (address, port)
    }

    /// A TCP segment of 20 bytes without data, all that differs zero.
    fn build(&self) -> Vec<u8> {
        let ethertype: &[u8] = if self.family == Family::V4 { &[8, 0] } else { &[0x86, 0xdd] };
        let mut frame = [&TO[..], &FROM, ethertype].concat();
        match self.family {
            Family::V4 => {
                let mut ip = [0; 20];
                ip[..10].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 6]);
                frame.extend(ip);
            }
            Family::V6 => {
                let mut ip = [0; 40];
                ip[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 26, 6, 64]);
                frame.extend(ip);
            }
        }
        let tcp = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0, 0xff, 0xff, 0x12, 0x34, 0, 0];
        frame.extend(tcp);
        frame.extend([0; 6]);
        frame
    }

    /// The order in which flows take turns: every one once, and no two neighbours after each other.
    #[inline]
    pub fn flow_of(&self, turn: u32) -> u32 {
        turn.wrapping_mul(0x9e37_79b1) & (self.flows - 1)
    }

    /// Makes `count` frames from turn number `turn` on, beginning at the chunk of that number.
    #[inline(never)]
    pub fn make(&mut self, turn: u32, count: usize, flags: u8) {
        for number in turn..turn + count as u32 {
            let flow = self.flow_of(number);
            self.make_one(number as usize, flow, flags);
        }
    }

    #[inline]
    fn make_one(&mut self, chunk: usize, flow: u32, flags: u8) {
        let key = match &self.back {
            Some(back) => back.key(flow),
            None => {
                let (source, source_port) = Self::client(self.family, flow);
                FlowKey {
                    source,
                    destination: Self::vip(self.family, flow % self.services),
                    source_port,
                    destination_port: 80,
                    protocol: u32::from(Protocol::Tcp.number()),
                }
            }
        };
        let frame = &mut self.memory[chunk % RING][HEADROOM..][..self.template.len()];
        frame.copy_from_slice(&self.template);
        let transport = match self.family {
            Family::V4 => {
                frame[26..30].copy_from_slice(&key.source.low_bits().to_be_bytes());
                frame[30..34].copy_from_slice(&key.destination.low_bits().to_be_bytes());
                let sum = !checksum::fold(checksum::sum(&frame[14..34]));
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
                34
            }
            Family::V6 => {
                frame[22..38].copy_from_slice(&key.source.octets());
                frame[38..54].copy_from_slice(&key.destination.octets());
                54
            }
        };
        frame[transport..transport + 2].copy_from_slice(&key.source_port.to_be_bytes());
        frame[transport + 2..transport + 4].copy_from_slice(&key.destination_port.to_be_bytes());
        frame[transport + 13] = flags;
    }

    /// The frame in a chunk.
    #[inline]
    pub fn bytes(&self, chunk: usize) -> &[u8] {
        &self.memory[chunk % RING][HEADROOM..][..self.template.len()]
    }

    /// The same, to be changed.
    #[inline]
    pub fn view(&mut self, chunk: usize) -> FrameView<'_> {
        FrameView::new(&mut self.memory[chunk % RING], HEADROOM, self.template.len())
    }
}
