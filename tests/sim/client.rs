//! What runs on a client: streams and datagrams that check every byte that comes back, and note who
//! has answered.

use smoltcp::iface::{Context, SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::IpEndpoint;

use super::chance::{CHECKSUM_START, checksum, scramble, stream_byte};
use super::server::{REQUEST_LEN, Request, tcp_socket, udp_socket};

/// How a flow ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// All bytes arrived both ways, from these backends.
    Whole(Vec<u16>),
    /// The connection was reset, after so many bytes.
    Reset(u64),
    /// Nothing came any more, and the client has given up.
    Silent,
    /// Something is wrong.
    Wrong(String),
}

/// One TCP connection.
pub struct Stream {
    pub request: Request,
    handle: SocketHandle,
    up_sent: u64,
    up_checksum: u64,
    down_received: u64,
    number: [u8; 2],
    pub end: Option<End>,
}

impl Stream {
    /// Opens a connection.
    pub fn connect(
        request: Request,
        (vip, local_port): (IpEndpoint, u16),
        (sockets, context): (&mut SocketSet<'static>, &mut Context),
    ) -> Stream {
        let mut socket = tcp_socket();
        socket.connect(context, vip, local_port).expect("the local port is free");
        Stream {
            request,
            handle: sockets.add(socket),
            up_sent: 0,
            up_checksum: CHECKSUM_START,
            down_received: 0,
            number: [0; 2],
            end: None,
        }
    }

    /// Sends and checks what can be.
    pub fn work(&mut self, sockets: &mut SocketSet<'static>) {
        let socket = sockets.get_mut::<tcp::Socket>(self.handle);
        while socket.can_send() && self.up_sent < self.total_up() {
            let _ = socket.send(|room| (self.fill(room), ()));
        }
        while socket.can_recv() && self.end.is_none() {
            let _ = socket.recv(|bytes| (bytes.len(), self.check(bytes)));
        }
        if self.end.is_some() {
            if !self.request.server_closes || !socket.may_recv() {
                socket.close();
            }
        } else if !socket.is_open() {
            self.end = Some(End::Reset(self.down_received));
        }
    }

    /// Grows with every byte that is acknowledged or comes.
    pub fn progress(&self, sockets: &SocketSet<'static>) -> u64 {
        let waiting = sockets.get::<tcp::Socket>(self.handle).send_queue() as u64;
        self.up_sent.saturating_sub(waiting) + self.down_received
    }

    /// The client waits no longer.
    pub fn give_up(&mut self, sockets: &mut SocketSet<'static>) {
        self.end = Some(End::Silent);
        sockets.get_mut::<tcp::Socket>(self.handle).abort();
    }

    fn total_up(&self) -> u64 {
        REQUEST_LEN as u64 + u64::from(self.request.up_len)
    }

    fn fill(&mut self, room: &mut [u8]) -> usize {
        let until = self.total_up().min(self.up_sent + room.len() as u64);
        let len = (until - self.up_sent) as usize;
        let head = self.request.emit();
        let payload = (REQUEST_LEN as u64).saturating_sub(self.up_sent).min(len as u64) as usize;
        for (place, slot) in (self.up_sent..until).zip(&mut *room) {
            *slot = match head.get(place as usize) {
                Some(&byte) => byte,
                None => stream_byte(self.request.id, place - REQUEST_LEN as u64),
            };
        }
        self.up_checksum = checksum(self.up_checksum, &room[payload..len]);
        self.up_sent = until;
        len
    }

    fn check(&mut self, bytes: &[u8]) {
        let end_of_bytes = 2 + u64::from(self.request.down_len);
        for &byte in bytes {
            let place = self.down_received;
            let wanted = match place {
                0..2 => {
                    self.number[place as usize] = byte;
                    byte
                }
                _ if place < end_of_bytes => self.request.down_byte(place - 2),
                _ => match self.up_checksum.to_be_bytes().get((place - end_of_bytes) as usize) {
                    Some(&wanted) => wanted,
                    None => return self.wrong(format!("a byte too many: {place}")),
                },
            };
            if byte != wanted {
                return self.wrong(format!("byte {place} is {byte:#x}, wanted {wanted:#x}"));
            }
            self.down_received += 1;
        }
        if self.down_received == end_of_bytes + 8 && self.end.is_none() {
            self.end = Some(End::Whole(vec![u16::from_be_bytes(self.number)]));
        }
    }

    fn wrong(&mut self, what: String) {
        self.end = Some(End::Wrong(what));
    }
}

/// One UDP flow: each datagram is sent until it is answered.
pub struct Datagrams {
    id: u64,
    longest: u64,
    vip: IpEndpoint,
    handle: SocketHandle,
    wanted: u32,
    answered: u32,
    sent_at_ms: Option<u64>,
    /// Who has answered, in order.
    numbers: Vec<u16>,
    pub end: Option<End>,
}

/// After this long a datagram is sent again.
const RESEND_MS: u64 = 400;

impl Datagrams {
    /// A flow of `wanted` datagrams, at most so long, and their answers.
    pub fn open(
        (id, wanted, longest): (u64, u32, u64),
        (vip, local_port): (IpEndpoint, u16),
        sockets: &mut SocketSet<'static>,
    ) -> Datagrams {
        let mut socket = udp_socket();
        socket.bind(local_port).expect("the local port is free");
        Datagrams {
            id,
            longest,
            vip,
            handle: sockets.add(socket),
            wanted,
            answered: 0,
            sent_at_ms: None,
            numbers: vec![],
            end: None,
        }
    }

    /// Checks answers, sends the next datagram or the last one again.
    pub fn work(&mut self, now_ms: u64, sockets: &mut SocketSet<'static>) {
        let socket = sockets.get_mut::<udp::Socket>(self.handle);
        while self.end.is_none() {
            let Ok((bytes, _)) = socket.recv() else { break };
            self.check(bytes);
        }
        let is_due = self.sent_at_ms.is_none_or(|sent| now_ms >= sent + RESEND_MS);
        if self.end.is_none() && is_due && socket.can_send() {
            let payload = self.payload(self.answered);
            if socket.send_slice(&payload, self.vip).is_ok() {
                self.sent_at_ms = Some(now_ms);
            }
        }
    }

    pub fn progress(&self) -> u64 {
        self.answered.into()
    }

    pub fn give_up(&mut self) {
        self.end = Some(End::Silent);
    }

    /// When the last datagram has to be sent again.
    pub fn next_work_ms(&self) -> Option<u64> {
        let sent = self.sent_at_ms.unwrap_or(0);
        self.end.is_none().then_some(sent + RESEND_MS)
    }

    fn payload(&self, number: u32) -> Vec<u8> {
        let len = scramble(self.id ^ u64::from(number)) % self.longest;
        let id = self.id ^ u64::from(number) << 32;
        let bytes = (0..len).map(|place| stream_byte(id, place));
        number.to_be_bytes().into_iter().chain(bytes).collect()
    }

    fn check(&mut self, bytes: &[u8]) {
        let parts = bytes.split_first_chunk::<2>();
        let Some((backend, echo)) = parts else { return self.wrong("a short answer".into()) };
        let backend = u16::from_be_bytes(*backend);
        let Some(number) = echo.first_chunk().map(|number| u32::from_be_bytes(*number)) else {
            return self.wrong("an answer without its number".into());
        };
        let wanted = self.payload(number.min(self.answered));
        if echo != wanted {
            let pairs = echo.iter().zip(&wanted).enumerate();
            let changed: Vec<_> = pairs.filter(|(_, (is, was))| is != was).collect();
            let lens = (echo.len(), wanted.len());
            return self
                .wrong(format!("datagram {number} of {lens:?} is not the same: {changed:?}"));
        }
        if !self.numbers.contains(&backend) {
            self.numbers.push(backend);
        }
        // An answer to one that was answered already: a duplicate.
        if number == self.answered {
            self.answered += 1;
            self.sent_at_ms = None;
        }
        if self.answered == self.wanted {
            self.end = Some(End::Whole(self.numbers.clone()));
        }
    }

    fn wrong(&mut self, what: String) {
        self.end = Some(End::Wrong(what));
    }
}
