//! An endpoint that answers datagrams with its own address, and a client that asks who answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Where endpoints listen.
pub const PORT: u16 = 8081;
/// The two endpoints that are real, on node `n1`: the service whose endpoint changes has one of them.
pub const REAL: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 244, 1, 250), Ipv4Addr::new(10, 244, 1, 251)];

/// Answers at an address for ever.
pub fn echo(address: &str) -> ExitCode {
    let answer = |address: &str| -> std::io::Result<()> {
        let socket = UdpSocket::bind((address, PORT))?;
        let mut bytes = [0; 64];
        loop {
            let (_, from) = socket.recv_from(&mut bytes)?;
            socket.send_to(address.as_bytes(), from)?;
        }
    };
    if let Err(error) = answer(address) {
        eprintln!("{address}: {error}");
    }
    ExitCode::FAILURE
}

/// Asks a VIP, each time by a flow of its own, until this address has answered. Every half of a
/// millisecond a datagram is sent, so that much less is not told apart.
pub fn wait_for_answer(vip: IpAddr, wanted: Ipv4Addr, most: Duration) -> anyhow::Result<Duration> {
    const BETWEEN: Duration = Duration::from_micros(500);
    let began = Instant::now();
    let wanted = wanted.to_string();
    // Some flows at a time: an answer may be on its way while the next question goes.
    let mut sockets: Vec<UdpSocket> = Vec::new();
    while began.elapsed() < most {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(SocketAddr::new(vip, 80))?;
        socket.set_nonblocking(true)?;
        let _ = socket.send(b"?");
        sockets.push(socket);
        if sockets.len() > 8 {
            sockets.remove(0);
        }
        std::thread::sleep(BETWEEN);
        let mut bytes = [0; 64];
        for socket in &sockets {
            if let Ok(len) = socket.recv(&mut bytes)
                && &bytes[..len] == wanted.as_bytes()
            {
                return Ok(began.elapsed());
            }
        }
    }
    anyhow::bail!("no answer of {wanted} by {vip} in {most:?}")
}
