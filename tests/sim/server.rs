//! What runs on a backend: a TCP server and a UDP server that say which backend they are.
//!
//! A TCP stream begins with the client's [`Request`]. The server sends its number, the bytes asked
//! for, and at last a checksum of the bytes the client sent.

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Duration;

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpEndpoint, IpProtocol, Ipv4Packet, Ipv6Packet,
    TcpPacket,
};

use super::chance::{CHECKSUM_START, checksum, stream_byte};
use super::site::Machine;

/// What a client wants of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Tells the bytes of both directions.
    pub id: u64,
    /// Bytes the client sends after this.
    pub up_len: u32,
    /// Bytes the server sends after its number.
    pub down_len: u32,
    /// Which side ends the connection.
    pub server_closes: bool,
}

pub const REQUEST_LEN: usize = 17;

impl Request {
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = self.id.to_be_bytes().to_vec();
        bytes.extend(self.up_len.to_be_bytes());
        bytes.extend(self.down_len.to_be_bytes());
        bytes.push(self.server_closes.into());
        bytes
    }

    fn parse(bytes: &[u8; REQUEST_LEN]) -> Request {
        let word = |at: usize| u32::from_be_bytes(*bytes[at..].first_chunk().unwrap());
        Request {
            id: u64::from_be_bytes(*bytes.first_chunk().unwrap()),
            up_len: word(8),
            down_len: word(12),
            server_closes: bytes[16] != 0,
        }
    }

    /// Byte `place` of what the server answers after its number, without the checksum.
    pub fn down_byte(&self, place: u64) -> u8 {
        stream_byte(!self.id, place)
    }
}

/// A TCP socket as both sides use it. Keep-alives bring a stack back that a damaged frame has told
/// a wrong MAC. No delay of short segments (RFC 896): after a time-out smoltcp refuses the
/// acknowledgment of a segment that it sent and now holds back, and two such stacks never agree.
pub fn tcp_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; 8192]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_keep_alive(Some(Duration::from_secs(5)));
    socket
}

/// Listening sockets kept ready, more than clients that can come at one moment.
const BACKLOG: usize = 12;

struct Connection {
    handle: SocketHandle,
    head: Vec<u8>,
    request: Option<Request>,
    up_received: u32,
    up_checksum: u64,
    down_sent: u64,
}

/// The servers of one machine.
pub struct Server {
    /// The backend's number, told to every client.
    number: u16,
    port: u16,
    listening: Vec<SocketHandle>,
    connections: Vec<Connection>,
    udp: SocketHandle,
}

impl Server {
    /// One with its UDP socket among `datagrams`.
    pub fn new(machine: &Machine, datagrams: &mut SocketSet<'static>) -> Server {
        let port = machine.listens_on();
        let mut udp = udp_socket();
        udp.bind(port).expect("the port is free");
        let (listening, connections, udp) = (vec![], vec![], datagrams.add(udp));
        Server { number: machine.number, port, listening, connections, udp }
    }

    /// Is this a SYN of a connection that exists? A real stack finds the connection; smoltcp, with
    /// a socket for each connection to come, may give it to one that listens and open a second.
    pub fn is_repeated_syn(&self, sockets: &SocketSet<'static>, frame: &[u8]) -> bool {
        let Some(client) = syn_source(frame) else { return false };
        self.connections.iter().any(|connection| {
            sockets.get::<tcp::Socket>(connection.handle).remote_endpoint() == Some(client)
        })
    }

    /// Does what can be done with what has arrived.
    pub fn work(&mut self, sockets: &mut SocketSet<'static>, datagrams: &mut SocketSet<'static>) {
        let Server { connections, number, .. } = self;
        self.listening.retain(|&handle| {
            let is_waiting = sockets.get::<tcp::Socket>(handle).is_listening();
            if !is_waiting {
                connections.push(Connection::new(handle));
            }
            is_waiting
        });
        while self.listening.len() < BACKLOG {
            let mut socket = tcp_socket();
            socket.listen(self.port).expect("a port that is not 0");
            self.listening.push(sockets.add(socket));
        }
        connections.retain_mut(|connection| {
            let socket = sockets.get_mut::<tcp::Socket>(connection.handle);
            connection.work(socket, *number);
            let is_open = socket.is_open();
            if !is_open {
                sockets.remove(connection.handle);
            }
            is_open
        });
        self.answer_datagrams(datagrams.get_mut(self.udp));
    }

    fn answer_datagrams(&self, socket: &mut udp::Socket<'static>) {
        while socket.can_send() {
            let Ok((bytes, from)) = socket.recv() else { return };
            let answer = [&self.number.to_be_bytes()[..], bytes].concat();
            // The sender is answered from the address it sent to: with L2DSR the VIP.
            let _ = socket.send_slice(&answer, from);
        }
    }
}

impl Connection {
    fn new(handle: SocketHandle) -> Connection {
        Connection {
            handle,
            head: vec![],
            request: None,
            up_received: 0,
            up_checksum: CHECKSUM_START,
            down_sent: 0,
        }
    }

    fn work(&mut self, socket: &mut tcp::Socket<'static>, number: u16) {
        while socket.can_recv() {
            let _ = socket.recv(|bytes| (bytes.len(), self.take(bytes)));
        }
        let Some(request) = self.request else { return };
        while socket.can_send() && self.has_more_to_send(&request) {
            let sent = socket.send(|room| {
                let len = self.fill(&request, number, room);
                (len, len)
            });
            if sent.is_ok_and(|len| len == 0) {
                break;
            }
        }
        let is_done = self.down_sent == total_down(&request);
        let client_is_done = socket.state() == tcp::State::CloseWait;
        if is_done && (request.server_closes || client_is_done) {
            socket.close();
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        if self.request.is_none() {
            let len = bytes.len().min(REQUEST_LEN - self.head.len());
            self.head.extend(&bytes[..len]);
            bytes = &bytes[len..];
            self.request = self.head.first_chunk().map(Request::parse);
        }
        self.up_received += bytes.len() as u32;
        self.up_checksum = checksum(self.up_checksum, bytes);
    }

    fn has_more_to_send(&self, request: &Request) -> bool {
        self.down_sent < self.may_send(request)
    }

    /// The checksum can be told when all has come in.
    fn may_send(&self, request: &Request) -> u64 {
        let without = total_down(request) - 8;
        if self.up_received == request.up_len { without + 8 } else { without }
    }

    fn fill(&mut self, request: &Request, number: u16, room: &mut [u8]) -> usize {
        let until = self.may_send(request).min(self.down_sent + room.len() as u64);
        let bytes = self.down_sent..until;
        let len = (until - self.down_sent) as usize;
        for (place, slot) in bytes.zip(room) {
            *slot = match place {
                0..2 => number.to_be_bytes()[place as usize],
                _ if place < total_down(request) - 8 => request.down_byte(place - 2),
                _ => {
                    let at = place + 8 - total_down(request);
                    self.up_checksum.to_be_bytes()[at as usize]
                }
            };
        }
        self.down_sent = until;
        len
    }
}

/// Number, bytes and checksum.
fn total_down(request: &Request) -> u64 {
    2 + u64::from(request.down_len) + 8
}

pub fn udp_socket() -> udp::Socket<'static> {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 8192]);
    udp::Socket::new(buffer(), buffer())
}

/// Who sends this frame, if it is a TCP segment that opens a connection.
fn syn_source(frame: &[u8]) -> Option<IpEndpoint> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            syn_from(ip.next_header(), ip.src_addr().into(), ip.payload())
        }
        EthernetProtocol::Ipv6 => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            syn_from(ip.next_header(), ip.src_addr().into(), ip.payload())
        }
        _ => None,
    }
}

fn syn_from(protocol: IpProtocol, source: IpAddress, segment: &[u8]) -> Option<IpEndpoint> {
    if protocol != IpProtocol::Tcp {
        return None;
    }
    let tcp = TcpPacket::new_checked(segment).ok()?;
    (tcp.syn() && !tcp.ack()).then(|| IpEndpoint::new(source, tcp.src_port()))
}
