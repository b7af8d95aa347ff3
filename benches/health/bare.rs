//! The least that a prober can do: connect, wait for the event, ask for the error, close.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::time::Timespec;

/// As Guideway's prober: what is due by then begins together.
const TICK: Duration = Duration::from_millis(4);

pub fn start(sockets: Vec<SocketAddr>, interval: Duration) -> super::Contender {
    let is_over = Arc::new(AtomicBool::new(false));
    let thread = {
        let is_over = is_over.clone();
        std::thread::spawn(move || run(&sockets, interval, &is_over))
    };
    Box::new(move || {
        is_over.store(true, Ordering::Relaxed);
        thread.join().expect("the bare prober");
    })
}

fn run(sockets: &[SocketAddr], interval: Duration, is_over: &AtomicBool) {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    let mut flights: Vec<Option<OwnedFd>> = sockets.iter().map(|_| None).collect();
    let (began, mut begun) = (Instant::now(), 0u64);
    let mut tick = began;
    while !is_over.load(Ordering::Relaxed) {
        let due = began.elapsed().as_nanos() * sockets.len() as u128 / interval.as_nanos();
        while u128::from(begun) < due {
            let place = (begun % sockets.len() as u64) as usize;
            flights[place] = begin(&epoll, sockets[place], place as u64);
            begun += 1;
        }
        tick += TICK;
        loop {
            let rest = tick.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            let limit = Timespec { tv_sec: 0, tv_nsec: rest.as_nanos() as i64 };
            let mut events = [MaybeUninit::uninit(); 256];
            let Ok((ready, _)) = epoll::wait(&epoll, &mut events, Some(&limit)) else { continue };
            for event in ready.iter() {
                if let Some(socket) = flights[event.data.u64() as usize].take() {
                    sockopt::socket_error(&socket).expect("SO_ERROR").expect("an accepted one");
                }
            }
        }
    }
}

fn begin(epoll: &OwnedFd, to: SocketAddr, place: u64) -> Option<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("socket");
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("SO_LINGER");
    match connect(&socket, &to) {
        Err(Errno::INPROGRESS) => {
            let data = epoll::EventData::new_u64(place);
            epoll::add(epoll, &socket, data, epoll::EventFlags::OUT).expect("EPOLL_CTL_ADD");
            Some(socket)
        }
        other => {
            other.expect("connect");
            None
        }
    }
}
