//! Follows the kernel for as long as Guideway runs.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use super::keep::{Ask, Keeper};
use super::socket::{Heard, Listener, Requester, TOPOLOGY_GROUPS, read_local_port_range};
use super::view::{Change, KernelView, StationKey};
use crate::control::{InterfaceSpec, Topology, WantedNeighbour};

/// Events within this time are one change: a link that comes up makes a dozen.
const TOGETHER: Duration = Duration::from_millis(10);
/// A reading of large tables is not repeated before so many times its own duration has passed.
const REST_FACTOR: u32 = 4;
/// After a reading that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Publishes the topology whenever it changes, and has the kernel keep the wanted neighbours alive.
/// Ends when nobody receives any more; the neighbours are released then, also when it is dropped.
///
/// # Errors
/// When route netlink cannot be used, or the socket breaks.
pub async fn watch_topology(
    interfaces: Vec<InterfaceSpec>,
    mut wanted: watch::Receiver<BTreeSet<WantedNeighbour>>,
    out: watch::Sender<Topology>,
) -> io::Result<()> {
    // Listens before it reads, so that no change falls between.
    let mut listener = Listener::open(TOPOLOGY_GROUPS)?;
    let mut follower = Follower::new(interfaces)?;
    let (mut change, mut may_change) = (Change::RereadAll, true);
    loop {
        let pause = follower.catch_up(&mut change).await?;
        follower.publish(&out);
        let goal = wanted.borrow_and_update().clone();
        let look_again = follower.keep(&goal);
        let retry = (change > Change::Done).then(|| Instant::now() + pause);
        let timer = [look_again, retry].into_iter().flatten().min();
        tokio::select! {
            heard = listener.hear() => {
                change = change.max(follower.take(&heard?));
                sleep(pause).await;
                while let Some(heard) = listener.try_hear()? {
                    change = change.max(follower.take(&heard));
                }
            }
            // Without a sender nobody will want anything else; the kernel is watched all the same.
            changed = wanted.changed(), if may_change => may_change = changed.is_ok(),
            () = sleep_until(timer.unwrap_or_else(Instant::now).into()), if timer.is_some() => {}
            () = out.closed() => return Ok(()),
        }
    }
}

struct Follower {
    interfaces: Vec<InterfaceSpec>,
    requester: Option<Requester>,
    view: KernelView,
    keeper: Keeper,
    /// Neighbours that the kernel refused when they were asked for last: told once each.
    refused: BTreeSet<StationKey>,
}

impl Follower {
    fn new(interfaces: Vec<InterfaceSpec>) -> io::Result<Follower> {
        let requester = Some(Requester::open()?);
        Ok(Follower {
            interfaces,
            requester,
            view: KernelView::default(),
            keeper: Keeper::default(),
            refused: BTreeSet::new(),
        })
    }

    /// Reads what has to be read, and gives how long events may gather until the next time.
    async fn catch_up(&mut self, change: &mut Change) -> io::Result<Duration> {
        if *change == Change::Done {
            return Ok(TOGETHER);
        }
        let mut requester = match self.requester.take() {
            Some(requester) => requester,
            None => Requester::open()?,
        };
        let (all, started) = (*change == Change::RereadAll, Instant::now());
        // A full table of the Internet's routes takes a second: not on a thread others wait for.
        let read = tokio::task::spawn_blocking(move || {
            let reading = requester.read(all);
            (requester, reading)
        });
        let (requester, reading) = read.await.map_err(io::Error::other)?;
        match reading {
            Ok(reading) => {
                self.requester = Some(requester);
                self.view.take(reading);
                self.view.set_local_port_range(read_local_port_range());
                *change = Change::Done;
                Ok(TOGETHER.max(started.elapsed() * REST_FACTOR))
            }
            Err(error) => {
                // What is left in that socket would be taken for the next answer.
                tracing::warn!(%error, "the kernel's routes could not be read; trying again");
                *change = Change::RereadAll;
                Ok(RETRY)
            }
        }
    }

    fn take(&mut self, heard: &Heard) -> Change {
        match heard {
            Heard::Events(events) => {
                let changes = events.iter().map(|event| self.view.apply(event));
                changes.max().unwrap_or(Change::Done)
            }
            // It is told before its routes change. Reading begins with the links, which the kernel
            // gives only when it is done.
            Heard::Nexthop => Change::Reread,
            Heard::Lost => {
                tracing::info!("netlink events were lost; reading everything anew");
                Change::RereadAll
            }
        }
    }

    fn publish(&self, out: &watch::Sender<Topology>) {
        let topology = self.view.topology(&self.interfaces);
        out.send_if_modified(|published| {
            let changed = *published != topology;
            if changed {
                *published = topology;
            }
            changed
        });
    }

    /// Asks the kernel for what is due; gives when to look again.
    fn keep(&mut self, goal: &BTreeSet<WantedNeighbour>) -> Option<Instant> {
        let places = self.view.places(&self.interfaces);
        let mut wanted: BTreeSet<StationKey> = goal
            .iter()
            .filter_map(|&(port, tags, address)| Some((places.home(port, tags)?, address)))
            .collect();
        self.view.forget_absent(&wanted);
        // On a link that is down nothing can be asked; it is asked when the link comes up.
        wanted.retain(|&(ifindex, _)| self.view.is_up(ifindex));
        let (asks, next) = self.keeper.plan(&wanted, &self.view, Instant::now());
        asks.into_iter().for_each(|ask| self.ask(ask));
        next
    }

    fn ask(&mut self, ask: Ask) {
        let Some(requester) = &mut self.requester else { return };
        let (Ask::Manage(key) | Ask::Poke(key) | Ask::Release(key)) = ask;
        let Err(error) = requester.ask(ask) else {
            self.refused.remove(&key);
            return;
        };
        match (ask, error.raw_os_error()) {
            // Already gone, or its link: what was to be reached.
            (Ask::Release(_), _) => {
                self.refused.remove(&key);
            }
            (Ask::Manage(key), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                if self.keeper.set_managed_refused() {
                    tracing::warn!(
                        %error,
                        "this kernel does not keep neighbours alive by itself (NTF_EXT_MANAGED, \
                         Linux 5.16): they are used every few seconds instead"
                    );
                }
                self.ask(Ask::Poke(key));
            }
            (Ask::Manage((ifindex, address)) | Ask::Poke((ifindex, address)), number) => {
                // It is asked for again every second, and there may be thousands.
                if !self.refused.insert(key) {
                    return;
                }
                let hint = if number == Some(libc::ENOBUFS) {
                    "the kernel's neighbour table is full: raise net.ipv4.neigh.default.gc_thresh3 \
                     or net.ipv6.neigh.default.gc_thresh3"
                } else {
                    ""
                };
                tracing::warn!(%address, ifindex, %error, hint, "a neighbour is not kept alive");
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // The kernel would go on probing for as long as the machine runs.
        self.keeper.release_all().into_iter().for_each(|ask| self.ask(ask));
    }
}
