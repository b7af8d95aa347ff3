//! What a run shows.

/// Equal for equal seeds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Of all frames that left the balancer, and when.
    pub trace: u64,
    pub ended_ms: u64,
    pub frames: u64,
    pub bytes: u64,
    pub flows: u64,
    pub generations: u64,
    pub handed_over: u64,
    /// Fragments that waited for their first one.
    pub held: u64,
    pub lost: u64,
    /// Panics of workers.
    pub restarts: u64,
    /// Flows that had more than one backend, one after the other.
    pub moved: u64,
    /// Flows that were reset, and whose clients gave up, as the model allows.
    pub reset: u64,
    pub silent: u64,
    /// Flows of clients that their services do not allow.
    pub refused: u64,
    /// Datagrams that were too long for their way, and left in fragments.
    pub datagrams_cut: u64,
    /// Packets that were too long for their way, and how often an engine has learned of one.
    pub too_big: u64,
    pub mtu_lowered: u64,
}

impl Summary {
    /// Counts another run in.
    pub fn add(&mut self, other: &Summary) {
        let counts = [
            (&mut self.ended_ms, other.ended_ms),
            (&mut self.frames, other.frames),
            (&mut self.bytes, other.bytes),
            (&mut self.flows, other.flows),
            (&mut self.generations, other.generations),
            (&mut self.handed_over, other.handed_over),
            (&mut self.held, other.held),
            (&mut self.lost, other.lost),
            (&mut self.restarts, other.restarts),
            (&mut self.moved, other.moved),
            (&mut self.reset, other.reset),
            (&mut self.silent, other.silent),
            (&mut self.refused, other.refused),
            (&mut self.datagrams_cut, other.datagrams_cut),
            (&mut self.too_big, other.too_big),
            (&mut self.mtu_lowered, other.mtu_lowered),
        ];
        for (sum, count) in counts {
            *sum += count;
        }
    }
}
