//! Fuzzing of Guideway: `docs/fuzzing.md` of the main package tells how.

// The judges that are shared with the main package's unit tests go by this path.
use guideway::wire;

pub mod drivers;
