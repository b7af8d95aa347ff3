//! When a row of probe results makes a backend healthy or not.

use super::{Health, HealthCheckSpec};

/// A wait is doubled at most so often: `flap_wait` is long over by then.
const MOST_DOUBLINGS: u32 = 31;

/// One backend's rise and fall. Pure; time is an argument.
///
/// `rise` successes in a row make it up, `fall` failures in a row make it down, also from unknown,
/// which counts as usable until then.
///
/// A backend that flaps backs off. Coming up takes about `rise` times the interval. Each time that
/// it goes down from up within `flap_window` of the last such time, the time without a failure that
/// it needs to come up is doubled, to `flap_wait` at most; after a longer quiet all that is forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthState {
    rise: u32,
    fall: u32,
    damping: Damping,
    health: Health,
    last: bool,
    in_a_row: u32,
    /// When the first of the results in a row came.
    row_since_ms: u64,
    since_ms: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Damping {
    window_ms: u64,
    /// What is doubled.
    first_ms: u64,
    longest_ms: u64,
    last_fall_ms: Option<u64>,
    doublings: u32,
}

impl Damping {
    fn note_fall(&mut self, now_ms: u64) {
        let is_soon = self.last_fall_ms.is_some_and(|last| {
            now_ms.saturating_sub(last) < self.window_ms.saturating_add(self.wait_ms())
        });
        self.doublings = if is_soon { (self.doublings + 1).min(MOST_DOUBLINGS) } else { 0 };
        self.last_fall_ms = Some(now_ms);
    }

    fn wait_ms(&self) -> u64 {
        match self.doublings {
            0 => 0,
            doublings => (self.first_ms << doublings).min(self.longest_ms),
        }
    }
}

impl HealthState {
    /// Nothing known yet. A `rise` or `fall` of 0 is taken as 1.
    pub fn new(spec: &HealthCheckSpec) -> HealthState {
        let rise = spec.rise.max(1);
        let damping = Damping {
            window_ms: spec.flap_window_ms.into(),
            first_ms: u64::from(rise).saturating_mul(spec.interval_ms.into()).min(1 << 32),
            longest_ms: if spec.flap_window_ms == 0 { 0 } else { spec.flap_wait_ms.into() },
            last_fall_ms: None,
            doublings: 0,
        };
        HealthState {
            rise,
            fall: spec.fall.max(1),
            damping,
            health: Health::Unknown,
            last: false,
            in_a_row: 0,
            row_since_ms: 0,
            since_ms: None,
        }
    }

    /// Takes a probe's result; gives the new health if it changed.
    pub fn observe(&mut self, success: bool, now_ms: u64) -> Option<Health> {
        if self.in_a_row > 0 && self.last == success {
            self.in_a_row = self.in_a_row.saturating_add(1);
        } else {
            (self.in_a_row, self.row_since_ms) = (1, now_ms);
        }
        self.last = success;
        let (health, needed) =
            if success { (Health::Up, self.rise) } else { (Health::Down, self.fall) };
        if health == self.health || self.in_a_row < needed || self.held_ms(now_ms).is_some() {
            return None;
        }
        if self.health == Health::Up && health == Health::Down {
            self.damping.note_fall(now_ms);
        }
        self.health = health;
        self.since_ms = Some(now_ms);
        Some(health)
    }

    /// How much longer a backend that is good again has to be good since it flapped; none: it does
    /// not wait.
    pub fn held_ms(&self, now_ms: u64) -> Option<u64> {
        if self.health != Health::Down || !self.last {
            return None;
        }
        let good_ms = now_ms.saturating_sub(self.row_since_ms);
        self.damping.wait_ms().checked_sub(good_ms).filter(|&rest| rest > 0)
    }

    /// How long it has to be good since it flapped, in milliseconds; 0: no longer than others.
    pub fn wait_ms(&self) -> u64 {
        self.damping.wait_ms()
    }

    /// Do the last results say something else than [`HealthState::health`], and more of them would
    /// change it?
    pub fn is_changing(&self) -> bool {
        match (self.health, self.last) {
            (Health::Up, true) | (Health::Down, false) => false,
            (Health::Down, true) => self.in_a_row < self.rise,
            (Health::Up | Health::Unknown, _) => true,
        }
    }

    /// Health now.
    pub fn health(&self) -> Health {
        self.health
    }

    /// When it last changed; none while unknown.
    pub fn since_ms(&self) -> Option<u64> {
        self.since_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::HealthCheckKind;

    /// A result a second; the time to come up again is doubled from 2 s to 4, 8 and 10 s.
    fn state(rise: u32, fall: u32, flap_window_ms: u32) -> HealthState {
        HealthState::new(&HealthCheckSpec {
            rise,
            fall,
            interval_ms: 1_000,
            flap_window_ms,
            flap_wait_ms: 10_000,
            ..HealthCheckSpec::new(HealthCheckKind::TCP)
        })
    }

    /// `+` success, `-` failure; `U` and `D` mark where it changes to up and down, `.` where not.
    fn letters(state: &mut HealthState, results: &str, from_ms: u64) -> String {
        let times = (0..).map(|second| from_ms + 1_000 * second);
        let letter = |(result, now_ms)| match state.observe(result == '+', now_ms) {
            Some(Health::Up) => 'U',
            Some(Health::Down) => 'D',
            Some(Health::Unknown) | None => '.',
        };
        results.chars().zip(times).map(letter).collect()
    }

    #[test]
    fn rise_and_fall_in_rows() {
        let rows = [
            ("unknown to up", 2, 3, "++++", ".U.."),
            ("unknown to down", 2, 3, "----", "..D."),
            ("a success starts the count anew", 2, 3, "--+--+---", "........D"),
            ("a failure starts the count anew", 3, 1, "-++-+++", "D.....U"),
            ("at once", 1, 1, "+-+--", "UDUD."),
            ("0 is 1", 0, 0, "+-", "UD"),
            ("up, down and up", 2, 3, "++---+-++", ".U..D...U"),
        ];
        for (description, rise, fall, results, wanted) in rows {
            let got = letters(&mut state(rise, fall, 0), results, 0);
            assert_eq!(got, wanted, "{description}");
        }
    }

    #[test]
    fn a_backend_that_flaps_backs_off() {
        let minute = 60_000;
        let rows = [
            ("once is no flapping", minute, "++-++", ".UD.U"),
            ("twice: 4 s", minute, "++-++-++++++", ".UD.UD....U."),
            ("a failure starts the time anew", minute, "++-++-++++-++++++", ".UD.UD.........U."),
            ("three times: 8 s", minute, "++-++-+++++-+++++++++", ".UD.UD....UD........U"),
            (
                "four times: not 16 but 10 s",
                minute,
                "++-++-+++++-+++++++++-+++++++++++",
                ".UD.UD....UD........UD..........U",
            ),
            ("down all the time is no flapping", minute, "++-++-+-+-+-+++++", ".UD.UD..........U"),
            ("down from unknown is no flapping", minute, "-++-++", "D.UD.U"),
            ("each by itself", 2_000, "++-++++-++", ".UD.U..D.U"),
            ("never", 0, "++-++-++-++", ".UD.UD.UD.U"),
        ];
        for (description, window_ms, results, wanted) in rows {
            let got = letters(&mut state(2, 1, window_ms), results, 7_000);
            assert_eq!(got, wanted, "{description}");
        }
    }

    #[test]
    fn quiet_is_forgiven() {
        let mut flapped = state(2, 1, 60_000);
        assert_eq!(letters(&mut flapped, "++-++-+++++", 0), ".UD.UD....U");
        let mut late = flapped.clone();
        assert_eq!(letters(&mut flapped, "-+++++++++", 30_000), "D........U", "soon: 8 s");
        assert_eq!(letters(&mut late, "-++", 80_000), "D.U", "a minute later");
    }

    #[test]
    fn while_it_waits() {
        let mut state = state(2, 1, 60_000);
        assert_eq!(letters(&mut state, "++-++-++", 0), ".UD.UD..");
        assert_eq!((state.health(), state.wait_ms()), (Health::Down, 4_000));
        assert_eq!((state.held_ms(7_000), state.held_ms(9_999)), (Some(3_000), Some(1)));
        assert_eq!(state.held_ms(10_000), None);
        assert!(!state.is_changing(), "nothing is sooner known by asking more often");
    }

    #[test]
    fn when_more_results_would_change_it() {
        let rows = [
            ("", true),
            ("+", true),
            ("++", false),
            ("++-", true),
            ("++-+", false),
            ("++--", true),
            ("++---", false),
            ("++---+", true),
            ("++---++", false),
        ];
        for (results, wanted) in rows {
            let mut state = state(2, 3, 0);
            letters(&mut state, results, 0);
            assert_eq!(state.is_changing(), wanted, "{results}");
        }
        let mut state = state(2, 2, 0);
        assert_eq!((state.health(), state.since_ms()), (Health::Unknown, None));
        letters(&mut state, "--+", 5);
        assert_eq!((state.health(), state.since_ms()), (Health::Down, Some(1_005)));
    }
}
