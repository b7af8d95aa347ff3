//! When a row of probe results makes a backend healthy or not.

use super::Health;

/// One backend's rise and fall. Pure; time is an argument.
///
/// `rise` successes in a row make it up, `fall` failures in a row make it down, also from unknown,
/// which counts as usable until then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthState {
    rise: u32,
    fall: u32,
    health: Health,
    last: bool,
    in_a_row: u32,
    since_ms: Option<u64>,
    reason: Option<String>,
}

impl HealthState {
    /// Nothing known yet. A `rise` or `fall` of 0 is taken as 1.
    pub fn new(rise: u32, fall: u32) -> HealthState {
        HealthState {
            rise: rise.max(1),
            fall: fall.max(1),
            health: Health::Unknown,
            last: false,
            in_a_row: 0,
            since_ms: None,
            reason: None,
        }
    }

    /// Takes a probe's result; gives the new health if it changed.
    pub fn observe(&mut self, success: bool, now_ms: u64) -> Option<Health> {
        self.in_a_row = if self.last == success { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = success;
        let (health, needed) =
            if success { (Health::Up, self.rise) } else { (Health::Down, self.fall) };
        if success && (self.health != Health::Down || self.in_a_row >= needed) {
            self.reason = None;
        }
        if health == self.health || self.in_a_row < needed {
            return None;
        }
        self.health = health;
        self.since_ms = Some(now_ms);
        Some(health)
    }

    /// Takes a failure and keeps why, until the backend is well again.
    pub fn observe_failure(&mut self, reason: impl Into<String>, now_ms: u64) -> Option<Health> {
        self.reason = Some(reason.into());
        self.observe(false, now_ms)
    }

    /// Health now.
    pub fn health(&self) -> Health {
        self.health
    }

    /// When it last changed; none while unknown.
    pub fn since_ms(&self) -> Option<u64> {
        self.since_ms
    }

    /// Why the last probe failed that counts against it: while down, and while failing.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` success, `-` failure; `U` and `D` mark where it changes to up and down, `.` where not.
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
            let mut state = HealthState::new(rise, fall);
            let letters: String = (results.chars().zip(0..))
                .map(|(result, now)| match state.observe(result == '+', now) {
                    Some(Health::Up) => 'U',
                    Some(Health::Down) => 'D',
                    Some(Health::Unknown) | None => '.',
                })
                .collect();
            assert_eq!(letters, wanted, "{description}");
        }
    }

    #[test]
    fn reason_and_time_are_kept_until_it_is_well() {
        let mut state = HealthState::new(2, 2);
        assert_eq!(
            (state.health(), state.since_ms(), state.reason()),
            (Health::Unknown, None, None)
        );
        state.observe_failure("refused", 1);
        assert_eq!((state.health(), state.reason()), (Health::Unknown, Some("refused")));
        state.observe_failure("no answer in 1 s", 2);
        assert_eq!((state.health(), state.since_ms()), (Health::Down, Some(2)));
        state.observe(true, 3);
        assert_eq!(state.reason(), Some("no answer in 1 s"), "one success is not enough");
        state.observe(true, 4);
        assert_eq!((state.health(), state.since_ms(), state.reason()), (Health::Up, Some(4), None));
        state.observe_failure("status 500", 5);
        assert_eq!((state.health(), state.reason()), (Health::Up, Some("status 500")));
        state.observe(true, 6);
        assert_eq!((state.since_ms(), state.reason()), (Some(4), None));
    }
}
