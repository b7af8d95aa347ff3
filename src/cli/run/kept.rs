//! What is kept on disk of a source that lives, a file for each of them.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::replace_file::write_private;

/// Bytes of a kept state: what is larger is none.
const MOST_BYTES: u64 = 1 << 30;

/// What was kept of `what`, if it can be read; trouble is told of, since the source will tell all of it.
pub fn read<T>(file: &Path, what: &str, decode: impl Fn(&[u8]) -> Result<T, String>) -> Option<T> {
    let read = || -> Result<Option<T>, String> {
        match fs::metadata(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
            Ok(metadata) if metadata.len() > MOST_BYTES => return Err("too large".to_string()),
            Ok(_) => {}
        }
        let bytes = fs::read(file).map_err(|error| error.to_string())?;
        decode(&bytes).map(Some)
    };
    read().unwrap_or_else(|error| {
        let file = file.display();
        tracing::warn!(%file, error, "the kept state of {what} cannot be read");
        None
    })
}

/// Keeps it.
pub fn keep(file: &Path, what: &str, bytes: &[u8]) {
    let write = || {
        if let Some(folder) = file.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        write_private(file, bytes)
    };
    if let Err(error) = write() {
        let file = file.display();
        tracing::warn!(%file, %error, "the state of {what} is not kept: see `state_dir`");
    }
}
