//! Bare TCP connects, all with one epoll: a handful of system calls each, and nothing besides.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use super::ProbeError;
use super::probe::{Step, io_error};
use super::schedule::CheckId;

/// Events taken from the kernel at a time.
const EVENTS_AT_ONCE: usize = 256;

type Done = (CheckId, Result<(), ProbeError>);

/// A connection on its way.
struct Flight {
    socket: OwnedFd,
    version: u32,
    timeout_ms: u64,
    deadline_ms: u64,
}

/// All connections on their way.
pub(super) struct Connects {
    epoll: OwnedFd,
    /// By the check's place.
    flights: Vec<Option<Flight>>,
    count: usize,
    /// One for each flight, and some of flights that have ended.
    deadlines: BinaryHeap<Reverse<(u64, CheckId)>>,
}

impl Connects {
    /// None under way.
    ///
    /// # Errors
    /// When the system gives no epoll.
    pub fn new() -> std::io::Result<Connects> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Connects { epoll, flights: vec![], count: 0, deadlines: BinaryHeap::new() })
    }

    /// How many are under way; each has a file descriptor.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Begins one; gives its result when it is known already. A check has one at a time.
    pub fn begin(
        &mut self,
        id: CheckId,
        (to, source): (SocketAddr, Option<IpAddr>),
        now_ms: u64,
        timeout_ms: u64,
    ) -> Option<Result<(), ProbeError>> {
        let socket = match connect(to, source) {
            Ok((socket, Progress::Begun)) => socket,
            Ok((_, Progress::Done)) => return Some(Ok(())),
            Err((step, error)) => return Some(Err(io_error(step, &error.into()))),
        };
        let (place, deadline_ms) = (id.place as usize, now_ms + timeout_ms);
        let data = epoll::EventData::new_u64(id.place.into());
        if let Err(error) = epoll::add(&self.epoll, &socket, data, epoll::EventFlags::OUT) {
            return Some(Err(ProbeError::NotTried(format!("epoll: {error}"))));
        }
        if self.flights.len() <= place {
            self.flights.resize_with(place + 1, || None);
        }
        if let Some(at) = self.flights.get_mut(place) {
            let version = id.version;
            let before = at.replace(Flight { socket, version, timeout_ms, deadline_ms });
            self.count += usize::from(before.is_none());
        }
        self.deadlines.push(Reverse((deadline_ms, id)));
        None
    }

    fn end(&mut self, place: u32) -> Option<Flight> {
        let flight = self.flights.get_mut(place as usize)?.take()?;
        self.count -= 1;
        Some(flight)
    }

    /// Ends one without a result.
    pub fn cancel(&mut self, id: CheckId) {
        let flight = self.flights.get(id.place as usize).and_then(Option::as_ref);
        if flight.is_some_and(|flight| flight.version == id.version) {
            self.end(id.place);
        }
    }

    /// Takes the results there are, without waiting.
    pub fn poll(&mut self, now_ms: u64, done: &mut Vec<Done>) {
        if self.count == 0 {
            return;
        }
        let mut events = [MaybeUninit::uninit(); EVENTS_AT_ONCE];
        while self.count > 0 {
            let zero = rustix::time::Timespec::default();
            let Ok((ready, _)) = epoll::wait(&self.epoll, &mut events, Some(&zero)) else { break };
            for event in ready.iter() {
                let Some(flight) = self.end(event.data.u64() as u32) else { continue };
                let id = CheckId { place: event.data.u64() as u32, version: flight.version };
                done.push((id, outcome(&flight.socket)));
            }
            if ready.len() < EVENTS_AT_ONCE {
                break;
            }
        }
        self.give_up(now_ms, done);
    }

    fn give_up(&mut self, now_ms: u64, done: &mut Vec<Done>) {
        while let Some(&Reverse((at_ms, id))) = self.deadlines.peek() {
            let flight = self.flights.get(id.place as usize).and_then(Option::as_ref);
            // A check's earlier try has the same id, and another deadline.
            let is_over = flight
                .is_none_or(|flight| (flight.version, flight.deadline_ms) != (id.version, at_ms));
            if !is_over && at_ms > now_ms {
                return;
            }
            self.deadlines.pop();
            if !is_over && let Some(flight) = self.end(id.place) {
                let limit = Duration::from_millis(flight.timeout_ms);
                done.push((id, Err(super::probe::timed_out(limit))));
            }
        }
    }
}

enum Progress {
    Begun,
    Done,
}

fn connect(to: SocketAddr, source: Option<IpAddr>) -> Result<(OwnedFd, Progress), (Step, Errno)> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let at = |step| move |error| (step, error);
    let socket =
        net::socket_with(family, SocketType::STREAM, flags, None).map_err(at(Step::Connect))?;
    // Closed by a reset: no TIME_WAIT here, of which there would be hundreds of thousands, and no
    // two packets more.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).map_err(at(Step::Connect))?;
    if let Some(source) = source {
        net::bind(&socket, &SocketAddr::new(source, 0)).map_err(at(Step::Bind))?;
    }
    match net::connect(&socket, &to) {
        Ok(()) => Ok((socket, Progress::Done)),
        Err(Errno::INPROGRESS) => Ok((socket, Progress::Begun)),
        Err(error) => Err((Step::Connect, error)),
    }
}

fn outcome(socket: &OwnedFd) -> Result<(), ProbeError> {
    match sockopt::socket_error(socket) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) | Err(error) => Err(io_error(Step::Connect, &error.into())),
    }
}
