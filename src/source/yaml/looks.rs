//! What tells without reading it that a file may have another content.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a file looks like without being read: device, inode, size, times. Of none: it is not there.
pub type Looks = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// Of one file.
pub fn looks(file: &Path) -> Looks {
    let of = std::fs::metadata(file).ok()?;
    Some((of.dev(), of.ino(), of.size(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()))
}

/// Of a folder, what it looks like itself, since files come and go, and each file of it.
#[cfg(feature = "program")]
pub fn all_looks(path: &Path) -> Vec<Looks> {
    let files = super::folder::names(path).unwrap_or_default();
    let in_it = files.iter().map(|name| looks(&path.join(name)));
    [looks(path)].into_iter().chain(in_it).collect()
}
