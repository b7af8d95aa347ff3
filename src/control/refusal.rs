//! Why a configuration is not taken.

use std::fmt;

/// One field that cannot be as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Where, as in the configuration file: `services[2].backends[0].port`.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right, or what to do.
    pub wanted: String,
}

impl Refusal {
    pub(super) fn new(
        path: impl Into<String>,
        problem: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Refusal {
        Refusal { path: path.into(), problem: problem.into(), wanted: wanted.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; wanted: {}", self.path, self.problem, self.wanted)
    }
}

impl std::error::Error for Refusal {}
