//! What has to hold in a run, at every step and in the end.

use guideway::dataplane::{Counters, DropReason, FlowEventKind, Ticks};
use guideway::io::fault::FaultRates;

use super::desired::TIMEOUTS;
use super::world::World;

impl World {
    /// All workers' counts.
    fn counters(&self) -> Counters {
        let all = self.workers.iter().map(|worker| worker.engine().counters());
        all.fold(Counters::default(), |sum, next| sum.plus(next))
    }

    /// Why frames were dropped, for a run that went wrong.
    pub(super) fn drops(&self) -> String {
        let counters = self.counters();
        let reasons = DropReason::ALL.iter().zip(&counters.dropped);
        let reasons = reasons.filter(|&(_, &count)| count > 0);
        reasons.map(|(reason, count)| format!("{reason} {count}, ")).collect()
    }

    /// Every frame has exactly one verdict, or waits in a ring between two workers or for the first
    /// fragment of its datagram.
    pub(super) fn check_verdicts(&self) {
        let (mut arrived, mut settled) = (0, 0);
        for worker in &self.workers {
            let counters = worker.engine().counters();
            arrived += counters.received + counters.events.taken_over;
            settled += counters.verdicts() + counters.events.handed_over;
            settled += worker.engine().held_frames() as u64;
        }
        assert_eq!(arrived, settled, "{:?}", self.counters());
    }

    /// When nothing moves: all the counts that have to agree, and the model.
    pub(super) fn check_quiet(&mut self) {
        let mut received = 0;
        for (worker, shared) in self.workers.iter_mut().zip(&self.shared) {
            let number = shared.ask_report();
            assert!(!worker.turn(Ticks(self.now_ms)) && shared.has_reported(number));
            let report = shared.report();
            let held = worker.engine().held_frames() as u64;
            assert_eq!((report.waiting, report.census.in_hand), (held, 0));
            assert!(report.census.is_conserved());
            assert_eq!(report.generation, self.publisher.current().generation);
            let counters = &report.counters;
            let replied: u64 = counters.replied.iter().sum();
            let seen = worker.device_mut().seen;
            assert_eq!(seen.received, counters.received);
            assert_eq!(seen.sent, counters.forwarded + replied);
            received += seen.bad_received;
        }
        let sent: u64 = self.workers.iter_mut().map(|w| w.device_mut().seen.bad_sent).sum();
        assert!(sent <= received, "{sent} unsound frames left, {received} came in");
        assert!(
            self.damages_bits() || received == 0,
            "{received} unsound frames came of sound ones"
        );
        for (number, worker) in self.workers.iter_mut().enumerate() {
            while let Some(event) = worker.engine_mut().take_flow_event() {
                match event.kind {
                    FlowEventKind::Created => {
                        let machine = self.model.created(number, &event.entry);
                        self.history.goes_to(event.entry.key, machine);
                    }
                    FlowEventKind::Established => {}
                    FlowEventKind::Ended => self.model.ended(event.entry.key),
                }
            }
            assert_eq!(worker.engine().counters().events.flow_events_lost, 0);
        }
        self.model.check(self.workers.iter().map(|worker| worker.engine()), self.now_ms);
        self.give_up_silent();
    }

    /// Do frames change on their way? Then hosts may answer or quote what nobody has sent.
    fn damages_bits(&self) -> bool {
        let all = [&self.plan.receive_faults, &self.plan.transmit_faults];
        all.iter().any(|rates| rates.bit_flips + rates.truncation > 0.0)
    }

    /// On a good link nothing is wrong with any envelope or quote.
    pub(super) fn check_hosts(&self) {
        let is_good = !self.damages_bits();
        let not_opened: u64 = self.stations.iter().map(|station| station.host.not_opened).sum();
        assert!(!is_good || not_opened == 0, "{not_opened} envelopes could not be opened");
        let strange: u64 = self.stations.iter().map(|station| station.host.strange_errors).sum();
        assert!(!is_good || strange == 0, "{strange} errors quote what was never sent");
    }

    /// The hosts fall silent. When all times have run out, no flow is left.
    pub(super) fn drain(&mut self) {
        for worker in &mut self.workers {
            worker.device_mut().device.set_rates(FaultRates::default(), FaultRates::default());
        }
        let until = self.now_ms + u64::from(TIMEOUTS.tcp_established_ms) + 120_000;
        while self.now_ms < until {
            self.now_ms += 1000;
            self.turn_workers();
        }
        self.check_quiet();
        let mut counts = Counters::default();
        for worker in &mut self.workers {
            counts = counts.plus(worker.engine().counters());
            assert!(worker.engine().live_flows().iter().all(|&flows| flows == 0));
            assert!(!worker.engine().has_flows(), "entries are left after all times");
            assert!(!worker.engine().has_fragments(), "fragments are left after all times");
            let (receive, transmit) = worker.device_mut().device.faults();
            self.summary.lost += receive.lost + transmit.lost;
        }
        let events = counts.events;
        let ended = events.flows_expired + events.flows_closed + events.flows_cut;
        assert_eq!(events.flows_created, ended, "{events:?}");
        self.summary.datagrams_cut =
            self.stations.iter().map(|station| station.host.datagrams_cut()).sum();
        self.summary.too_big = self.network.too_big;
        self.summary.mtu_lowered = events.path_mtu_lowered;
        self.summary.flows = events.flows_created;
        self.summary.handed_over = events.handed_over;
        self.summary.held = events.fragments_held;
        // With the last flows gone, retired backends leave the snapshot.
        self.publish();
        self.turn_workers();
        self.publish();
        assert!(self.publisher.current().is_settled(), "retired backends without flows");
    }
}
