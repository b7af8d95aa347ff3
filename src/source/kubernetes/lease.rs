//! Who writes: one of the replicas, elected by a `coordination.k8s.io` Lease. Pure; time is an argument.
//!
//! Clocks of machines are not compared: a Lease is over when this replica has not seen it change for its
//! time. A Lease is no fence, so nothing depends on there being one writer at a time: addresses are
//! locked by their claims. It only keeps replicas from doing the same work.

/// How long a Lease holds that is not renewed.
pub const DURATION_MS: u64 = 15_000;
/// How long after the beginning of its last renewal a holder believes in it.
pub const BELIEVE_MS: u64 = 10_000;
/// How often it is looked at, and renewed.
pub const EVERY_MS: u64 = 2_000;

/// A Lease as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Who holds it; none: nobody.
    pub holder: Option<String>,
    /// For how long.
    pub duration_ms: u64,
    /// Changes whenever somebody writes it.
    pub version: String,
    /// How often it has had another holder.
    pub transitions: i32,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// There is none: make it.
    Create,
    /// Ours: write that we are there.
    Renew,
    /// Nobody's, or of somebody who is gone: write that it is ours.
    Take,
    /// Somebody else's.
    Wait,
}

/// One replica's view.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    /// What was read last, and since when it has been so.
    seen: Option<(Record, u64)>,
    /// When the last renewal that succeeded was begun.
    renewed_ms: Option<u64>,
}

impl Election {
    /// Of a replica with a name of its own.
    pub fn new(me: &str) -> Election {
        Election { me: me.to_string(), seen: None, renewed_ms: None }
    }

    /// Its name.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// What the Lease says, read at `now_ms` of this replica's clock; none: there is none. Gives what to
    /// do.
    pub fn read(&mut self, record: Option<Record>, now_ms: u64) -> Step {
        let Some(record) = record else {
            self.seen = None;
            return Step::Create;
        };
        let since = match &self.seen {
            Some((known, since)) if *known == record => *since,
            _ => now_ms,
        };
        let is_over = now_ms.saturating_sub(since) >= record.duration_ms;
        let step = match record.holder.as_deref() {
            None | Some("") => Step::Take,
            Some(holder) if holder == self.me => Step::Renew,
            Some(_) if is_over => Step::Take,
            Some(_) => Step::Wait,
        };
        if step == Step::Wait {
            self.renewed_ms = None;
        }
        self.seen = Some((record, since));
        step
    }

    /// Our write has been taken; it was begun at `begun_ms`.
    pub fn wrote(&mut self, begun_ms: u64) {
        self.renewed_ms = Some(begun_ms);
    }

    /// Our write was refused: somebody else was faster.
    pub fn lost(&mut self) {
        self.renewed_ms = None;
    }

    /// Do we write? Until when, if nothing more is heard.
    pub fn leads_until(&self) -> Option<u64> {
        self.renewed_ms.map(|begun| begun.saturating_add(BELIEVE_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, version: u32) -> Option<Record> {
        let holder = (!holder.is_empty()).then(|| holder.to_string());
        let version = version.to_string();
        Some(Record { holder, duration_ms: DURATION_MS, version, transitions: 0 })
    }

    #[test]
    fn steps_of_a_replica() {
        let mut me = Election::new("me");
        assert_eq!(me.read(None, 0), Step::Create);
        assert_eq!(me.leads_until(), None, "not before it is written");
        me.wrote(100);
        assert_eq!(me.leads_until(), Some(100 + BELIEVE_MS));
        assert_eq!(me.read(record("me", 1), 2_000), Step::Renew);
        me.wrote(2_000);
        assert_eq!(me.leads_until(), Some(2_000 + BELIEVE_MS));
        assert_eq!(me.read(record("other", 2), 4_000), Step::Wait);
        assert_eq!(me.leads_until(), None);
        assert_eq!(me.read(record("other", 2), 18_999), Step::Wait, "not over");
        assert_eq!(me.read(record("other", 3), 19_500), Step::Wait, "renewed");
        assert_eq!(me.read(record("other", 3), 34_499), Step::Wait);
        assert_eq!(me.read(record("other", 3), 34_500), Step::Take, "gone for its time");
        me.lost();
        assert_eq!(me.leads_until(), None, "a third one was faster");
        assert_eq!(me.read(record("", 5), 35_000), Step::Take, "given up");
    }

    /// Two replicas, one of which sleeps as long as chance has it, over one Lease that takes a write only
    /// of who has read its last version: what they believe never overlaps, whatever their clocks say.
    #[test]
    fn two_never_lead_at_once() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut lease: Option<Record> = None;
            // Clocks that differ by an hour.
            let skew = [0, 3_600_000];
            let mut replicas = [Election::new("a"), Election::new("b")];
            let mut wakes = [0u64, 500];
            let mut led = [false, false];
            for now in (0..300_000u64).step_by(100) {
                for who in 0..2 {
                    let believes = |who: usize, replicas: &[Election; 2]| {
                        replicas[who].leads_until().is_some_and(|until| until > now + skew[who])
                    };
                    assert!(
                        !(believes(0, &replicas) && believes(1, &replicas)),
                        "seed {seed}: both lead at {now}"
                    );
                    led[who] |= believes(who, &replicas);
                    if now < wakes[who] {
                        continue;
                    }
                    let sleeps = if rng.random_ratio(1, 20) { 60_000 } else { EVERY_MS };
                    wakes[who] = now + sleeps;
                    let step = replicas[who].read(lease.clone(), now + skew[who]);
                    if step == Step::Wait {
                        continue;
                    }
                    let version: u64 = lease.as_ref().map_or(0, |l| l.version.parse().unwrap());
                    lease = Some(Record {
                        holder: Some(["a", "b"][who].to_string()),
                        duration_ms: DURATION_MS,
                        version: (version + 1).to_string(),
                        transitions: 0,
                    });
                    replicas[who].wrote(now + skew[who]);
                }
            }
            assert!(led[0] || led[1], "seed {seed}: nobody led");
        }
    }
}
