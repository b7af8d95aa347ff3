//! Fragments on their way through the engine: to the worker that keeps their datagram, from there to
//! the flow's owner with the ports of the first, and then as whole packets go.

use super::classify::{Class, classify_transport};
use super::engine::{Arrival, Looked, Outcome, Prepared, Ticks, Turn};
use super::fragment_table::DatagramKey;
use super::fragments::{Admission, Came};
use super::{DropReason, Engine, Ports, Shard, Verdict};
use crate::forwarding::{BackendId, Snapshot};
use crate::wire::{Content, FrameView};

impl Engine {
    /// Finds the owner of a fragment: of its datagram, as all fragments have that key, until the
    /// ports are known; then of its flow.
    #[cold]
    pub(super) fn prepare_fragment(&self, snapshot: &Snapshot, prepared: &mut Prepared) {
        if let Some(ports) = prepared.arrival.ports() {
            let mut known = *prepared;
            self.follow_first(snapshot, ports, &mut known);
            prepared.owner = known.owner;
            return;
        }
        let Content::Fragment(part) = prepared.headers.ip.content else { return };
        let key = DatagramKey::of(&prepared.headers.ip, &part);
        let addresses = self.flows.hash.of_addresses(key.source, key.destination);
        let rest = u64::from(key.identification) << 32 | u64::from(key.protocol);
        prepared.hash = self.flows.hash.mix(addresses, rest);
        let owner = self
            .shards
            .owner(self.shards.shard_of_datagram(&prepared.headers.ip.key, prepared.hash));
        if matches!(prepared.arrival, Arrival::Received(_)) && owner != self.worker {
            prepared.owner = Some(owner);
        }
    }

    /// Makes it a packet of the flow that its datagram's first fragment names.
    fn follow_first(&self, snapshot: &Snapshot, ports: Ports, prepared: &mut Prepared) {
        let ip = &mut prepared.headers.ip;
        (ip.key.source_port, ip.key.destination_port) = (ports.source, ports.destination);
        ip.key.protocol = u32::from(ports.protocol);
        if let Content::Fragment(part) = &mut ip.content {
            part.identification = ports.identification;
        }
        let key = &prepared.headers.ip.key;
        prepared.class = classify_transport(snapshot, key);
        prepared.hash = self.flows.hash.of(key);
        let shard = match prepared.class {
            Class::Forward(_) => self.shards.shard_of(key, prepared.hash),
            Class::Back => Shard::of_snat_port(key.destination_port),
            Class::Return(service) => {
                let Some(service) = snapshot.services.get(service.index()) else { return };
                let sent = service.key_of_answer(key);
                prepared.hash = self.flows.hash.of(&sent);
                self.shards.shard_of(&sent, prepared.hash)
            }
            _ => return,
        };
        let owner = self.shards.owner(shard);
        // Whoever handed it over with its ports said that it is ours: it must not go round.
        if !matches!(prepared.arrival, Arrival::TakenOverFragment(..)) && owner != self.worker {
            prepared.owner = Some(owner);
        }
    }

    /// A fragment whose datagram is kept here, or whose flow is.
    #[cold]
    pub(super) fn finish_fragment(
        &mut self,
        snapshot: &Snapshot,
        now: Ticks,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Outcome {
        if let Some(ports) = prepared.arrival.ports() {
            return self.finish_known(snapshot, now, prepared, ports, frame);
        }
        let (ip, ingress) = (&prepared.headers.ip, prepared.arrival.port());
        let Content::Fragment(part) = &ip.content else {
            return self.settle(Verdict::Drop(DropReason::Fragment));
        };
        let (hash, now_ms) = (prepared.hash, now.0 as u32);
        let came = Came { ip, part, hash, ingress, now_ms, frame: frame.bytes() };
        match self.fragments.admit(&came, &mut self.flows.counters) {
            Admission::Follow(ports) => self.finish_known(snapshot, now, prepared, ports, frame),
            Admission::Hold => {
                self.flows.counters.events.fragments_held += 1;
                Outcome::Held
            }
            Admission::Refuse(reason) => self.settle(Verdict::Drop(reason)),
        }
    }

    /// Sends it the way that a whole packet of its flow would go.
    fn finish_known(
        &mut self,
        snapshot: &Snapshot,
        now: Ticks,
        prepared: &Prepared,
        ports: Ports,
        frame: &mut FrameView<'_>,
    ) -> Outcome {
        let mut known = *prepared;
        self.follow_first(snapshot, ports, &mut known);
        let ingress = known.arrival.port();
        if let Some(worker) = known.owner {
            return Outcome::HandOver {
                worker,
                arrival: Arrival::TakenOverFragment(ingress, ports),
            };
        }
        let ip = &known.headers.ip;
        let turn = Turn { snapshot, now, ingress, link: &known.headers.link };
        let verdict = match known.class {
            Class::Settled(verdict) => verdict,
            Class::Forward(service) => {
                let looked = Looked { hash: known.hash, guess: None, choice: BackendId::NONE };
                self.forward(&turn, service, ip, looked, frame)
            }
            Class::Back => self.back(&turn, ip, known.hash, frame),
            Class::Return(_) => self.back_dnat(&turn, ip, frame),
            _ => Verdict::Drop(DropReason::Fragment),
        };
        self.settle(verdict)
    }

    fn settle(&mut self, verdict: Verdict) -> Outcome {
        self.flows.counters.count(verdict);
        Outcome::Verdict(verdict)
    }

    /// Shows a fragment that was held and may go on now, its first one being known, to `show`; `false`
    /// when there is none. To be asked after each batch: the frame is to be prepared and finished as
    /// any other, by the arrival it is shown with. Its verdict is then the one that
    /// [`Outcome::Held`] has left open.
    pub fn take_held(&mut self, show: impl FnOnce(Arrival, &[u8])) -> bool {
        self.fragments.held_mut().take_ready(|port, ports, bytes| {
            show(Arrival::Released(port, ports), bytes);
        })
    }

    /// Frames that are held: they were counted as received, and have no verdict yet.
    pub fn held_frames(&self) -> usize {
        self.fragments.held().len()
    }

    /// Is there a datagram that waits for fragments, or a fragment that may go on?
    pub fn has_fragments(&self) -> bool {
        !self.fragments.is_empty() || self.fragments.held().is_ready()
    }
}
