//! How often something is worth a line in the log.

/// Lets something be told at once and then, while it goes on, once in a while.
///
/// Time is an argument, in milliseconds of any clock that does not go back.
#[derive(Clone, Debug)]
pub struct Seldom {
    every_ms: u64,
    told_ms: Option<u64>,
    untold: u64,
}

impl Seldom {
    /// At most once in `every_ms`.
    pub const fn new(every_ms: u64) -> Seldom {
        Seldom { every_ms, told_ms: None, untold: 0 }
    }

    /// It happens again. If it is to be told: how often it happened since it was told last, this time
    /// not counted.
    pub fn ask(&mut self, now_ms: u64) -> Option<u64> {
        let is_soon = |told_ms: u64| now_ms.saturating_sub(told_ms) < self.every_ms;
        if self.told_ms.is_some_and(is_soon) {
            self.untold += 1;
            return None;
        }
        self.told_ms = Some(now_ms);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_at_once_and_then_once_in_a_while() {
        let mut seldom = Seldom::new(1_000);
        let rows = [
            (5, Some(0)),
            (6, None),
            (1_004, None),
            (1_005, Some(2)),
            (900, None),
            (2_004, None),
            (9_000, Some(2)),
            (99_000, Some(0)),
        ];
        for (now_ms, wanted) in rows {
            assert_eq!(seldom.ask(now_ms), wanted, "{now_ms}");
        }
    }
}
