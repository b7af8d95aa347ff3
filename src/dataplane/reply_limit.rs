//! How many answers a second: a bucket that fills with time.

use super::Ticks;

/// A thousandth of an answer is the unit, so that every millisecond adds a whole number.
const ANSWER: u64 = 1000;

/// Bounds what a flood of pings, ARP requests or segments of unknown flows can make us send.
#[derive(Debug)]
pub(super) struct ReplyLimit {
    per_second: u64,
    left: u64,
    filled_at: Ticks,
}

impl ReplyLimit {
    /// A full bucket: the answers of one second.
    pub(super) fn new(per_second: u32) -> ReplyLimit {
        let per_second = u64::from(per_second);
        ReplyLimit { per_second, left: per_second * ANSWER, filled_at: Ticks(0) }
    }

    /// May one more answer be sent now? Counts it as sent.
    pub(super) fn take(&mut self, now: Ticks) -> bool {
        let elapsed_ms = now.0.saturating_sub(self.filled_at.0).min(1000);
        self.filled_at = self.filled_at.max(now);
        let full = self.per_second * ANSWER;
        self.left = (self.left + elapsed_ms * self.per_second).min(full);
        let granted = self.left >= ANSWER;
        if granted {
            self.left -= ANSWER;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_and_no_more() {
        /// Answers a second, then how many are granted at which times.
        type Row = (&'static str, u32, &'static [(u64, usize)]);
        let rows: [Row; 4] = [
            ("none at all", 0, &[(0, 0), (5000, 0)]),
            ("all at once, then by time", 10, &[(5000, 10), (5099, 0), (5100, 1), (5350, 2)]),
            ("a pause fills no more than one second", 3, &[(1, 3), (1_000_000, 3)]),
            ("time standing still or going back", 2, &[(7000, 2), (7000, 0), (6000, 0), (7499, 0)]),
        ];
        for (description, per_second, turns) in rows {
            let mut limit = ReplyLimit::new(per_second);
            for &(now, wanted) in turns {
                let granted = (0..100).filter(|_| limit.take(Ticks(now))).count();
                assert_eq!(granted, wanted, "{description} at {now}");
            }
        }
    }
}
