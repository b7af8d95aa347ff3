//! Services that wait to be written to: each once, one write at a time, later and later after a refusal.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::objects::Key;

/// First wait after a write that the API refused, doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Somebody else was faster: what there is now will be there in a moment.
const BEATEN_WAIT: Duration = Duration::from_millis(50);

/// Services that wait to be written to.
#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<Key>,
    is_waiting: HashSet<Key>,
    under_way: HashSet<Key>,
    /// Became different while it was written to.
    again: HashSet<Key>,
    /// After a refusal: not before, and how long the next wait is.
    waits: HashMap<Key, (Instant, Duration)>,
}

impl Queue {
    /// It has to be looked at.
    pub fn push(&mut self, key: Key) {
        if self.under_way.contains(&key) {
            self.again.insert(key);
        } else if self.is_waiting.insert(key.clone()) {
            self.waiting.push_back(key);
        }
    }

    /// The next one whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<Key> {
        for _ in 0..self.waiting.len() {
            let key = self.waiting.pop_front()?;
            if self.waits.get(&key).is_some_and(|(at, _)| *at > now) {
                self.waiting.push_back(key);
                continue;
            }
            self.is_waiting.remove(&key);
            return Some(key);
        }
        None
    }

    /// Its writes begin.
    pub fn begin(&mut self, key: Key) {
        self.under_way.insert(key);
    }

    /// Its writes have ended.
    pub fn done(&mut self, key: &Key) {
        self.under_way.remove(key);
        if self.again.remove(key) {
            self.push(key.clone());
        }
    }

    /// How many are written to.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// All is as it should be.
    pub fn is_well(&mut self, key: &Key) {
        self.waits.remove(key);
    }

    /// The API did not take its writes, for which a wait is drawn, or somebody else was faster.
    pub fn again(&mut self, key: Key, is_refused: bool, now: Instant) {
        let (wait, next) = if is_refused {
            let wait = self.waits.get(&key).map_or(FIRST_WAIT, |(_, next)| *next);
            (wait.mul_f64(rand::random_range(0.5..1.0)), (wait * 2).min(LONGEST_WAIT))
        } else {
            (BEATEN_WAIT, FIRST_WAIT)
        };
        self.waits.insert(key.clone(), (now + wait, next));
        self.push(key);
    }

    /// When the time of the next one has come that waits after a refusal.
    pub fn next_wait(&self) -> Option<Instant> {
        self.waits.iter().filter(|(key, _)| self.is_waiting.contains(*key)).map(|(_, w)| w.0).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_each_and_again_when_it_has_changed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let key = |name: &str| Key::new("shop", name);
        for name in ["a", "b", "a"] {
            queue.push(key(name));
        }
        assert_eq!(queue.pop(now), Some(key("a")));
        queue.begin(key("a"));
        queue.push(key("a"));
        assert_eq!((queue.pop(now), queue.pop(now)), (Some(key("b")), None), "a is under way");
        queue.done(&key("a"));
        assert_eq!(queue.pop(now), Some(key("a")), "it has changed meanwhile");

        queue.again(key("a"), true, now);
        assert_eq!(queue.pop(now), None);
        let at = queue.next_wait().unwrap();
        assert!(at - now <= FIRST_WAIT && queue.pop(at) == Some(key("a")));
        queue.is_well(&key("a"));
        assert_eq!(queue.next_wait(), None);
    }
}
