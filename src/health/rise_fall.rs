//! From single results to a judgement.

/// What is thought of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not decided yet: counts as usable.
    #[default]
    Unknown,
    /// Usable.
    Up,
    /// Not usable.
    Down,
}

/// Counts results in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthState {
    health: Health,
    rise: u32,
    fall: u32,
    in_a_row: u32,
}

impl HealthState {
    /// Nothing known yet.
    pub fn new(rise: u32, fall: u32) -> HealthState {
        HealthState { health: Health::Unknown, rise, fall, in_a_row: 0 }
    }

    /// Takes one result; the new judgement, when it changes.
    pub fn observe(&mut self, success: bool, _now_ms: u64) -> Option<Health> {
        let (next, needed) = match (self.health, success) {
            (Health::Up, true) | (Health::Down, false) => {
                self.in_a_row = 0;
                return None;
            }
            (Health::Unknown, true) => (Health::Up, 1),
            (Health::Down, true) => (Health::Up, self.rise),
            (_, false) => (Health::Down, self.fall),
        };
        self.in_a_row += 1;
        (self.in_a_row >= needed).then(|| {
            (self.health, self.in_a_row) = (next, 0);
            next
        })
    }
}
