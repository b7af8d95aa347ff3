//! Accepts all connections to any loopback address, and counts them and its own CPU time.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Sub;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use rustix::time::ClockId;

/// What it has done so far.
pub struct Reading {
    pub accepted: u64,
    pub cpu_ns: u64,
}

impl Sub for Reading {
    type Output = Reading;

    fn sub(self, before: Reading) -> Reading {
        Reading { accepted: self.accepted - before.accepted, cpu_ns: self.cpu_ns - before.cpu_ns }
    }
}

/// Runs as long as the process.
pub struct Server {
    port: u16,
    accepted: Arc<AtomicU64>,
    cpu_ns: Arc<AtomicU64>,
}

impl Server {
    pub fn start() -> Server {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
        let any = std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        bind(&socket, &any).expect("bind");
        listen(&socket, 4_096).expect("listen");
        let listener = TcpListener::from(socket);
        let port = listener.local_addr().expect("an address").port();
        let server = Server { port, accepted: Arc::default(), cpu_ns: Arc::default() };
        let (accepted, cpu_ns) = (server.accepted.clone(), server.cpu_ns.clone());
        std::thread::spawn(move || {
            while listener.accept().is_ok() {
                accepted.fetch_add(1, Ordering::Relaxed);
                cpu_ns.store(super::cpu_ns(ClockId::ThreadCPUTime), Ordering::Relaxed);
            }
        });
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn read(&self) -> Reading {
        Reading {
            accepted: self.accepted.load(Ordering::Relaxed),
            cpu_ns: self.cpu_ns.load(Ordering::Relaxed),
        }
    }
}
