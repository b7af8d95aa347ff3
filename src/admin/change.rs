//! Changes of the configuration as they are asked for over the admin socket: plain data.

use serde::{Deserialize, Serialize};

use crate::control::Plan;

/// What somebody wants done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangeRequest {
    /// What is done.
    pub verb: ChangeVerb,
    /// The file as whoever asks calls it: errors name it so.
    pub shown: String,
    /// Its name without the way to it: which file of a folder is meant. Nothing where the
    /// configuration is a single file.
    pub name: String,
    /// Its text. Of a rollback nothing: that is here already.
    pub text: String,
    /// A change that removes most services is meant.
    pub confirm: bool,
    /// A change that breaks live flows is meant.
    pub may_break: bool,
}

/// What is done with a changed file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeVerb {
    /// Say what it would do.
    Plan,
    /// Put it in the configured file's place.
    Apply,
    /// Put back what stood there before.
    Rollback,
}

/// What became of it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ChangeReport {
    /// Why nothing was done.
    pub refused: Option<String>,
    /// What the change does, or would do.
    pub plan: Option<Plan>,
    /// It removes so many services that it has to be confirmed: how many of how many.
    pub held: Option<String>,
    /// Nothing was done, since live flows would break and nobody said that this is meant.
    pub would_break: bool,
    /// It is in force.
    pub applied: Option<Applied>,
}

/// A change that was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Applied {
    /// The file that was replaced.
    pub file: String,
    /// Where its former text is kept; none of a file that is new.
    pub kept: Option<String>,
    /// The generation that has the change.
    pub generation: u64,
    /// Every worker runs it.
    pub is_everywhere: bool,
}
