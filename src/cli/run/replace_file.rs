//! A file is replaced whole or not at all, whatever happens meanwhile; the former one is kept.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// What a link leads to is replaced, not the link.
fn real(file: &Path) -> PathBuf {
    fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf())
}

/// Where the former text of a file is kept: beside it, and no file that a folder would read.
fn kept_path(file: &Path) -> PathBuf {
    let mut name = file.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(".previous");
    file.with_file_name(name)
}

/// The text that [`replace`] has kept.
///
/// # Errors
/// That there is none.
pub fn former(file: &Path) -> Result<String, String> {
    let kept = kept_path(&real(file));
    fs::read_to_string(&kept).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let kept = kept.display();
            format!("there is nothing to go back to: {kept} is made by `guideway apply`")
        }
        _ => format!("{}: {error}", kept.display()),
    })
}

/// Puts a text in a file's place and keeps the former one; gives where, if there was one.
///
/// # Errors
/// What the file system says; the file is as it was then.
pub fn replace(file: &Path, text: &str) -> io::Result<Option<PathBuf>> {
    let file = real(file);
    let before = match fs::read(&file) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let old = fs::metadata(&file).ok();
    let kept = kept_path(&file);
    match &before {
        Some(before) => write_whole(&kept, before, old.as_ref())?,
        None => remove(&kept)?,
    }
    write_whole(&file, text.as_bytes(), old.as_ref())?;
    Ok(before.map(|_| kept))
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// What the file system says; the file is as it was then.
pub fn write_private(file: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole(file, bytes, None)
}

/// With owner and mode as `like` has them; else ours, and for nobody else.
fn write_whole(file: &Path, bytes: &[u8], like: Option<&fs::Metadata>) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(".new");
    let beside = file.with_file_name(name);
    let write = || -> io::Result<()> {
        // Left behind by a crash, with any owner and mode.
        remove(&beside)?;
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        if let Some(like) = like {
            fchown(&out, Some(like.uid()), Some(like.gid()))?;
            out.set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
        }
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&beside, file)
    };
    write().inspect_err(|_| _ = fs::remove_file(&beside))?;
    // The name, too, has to be on disk.
    File::open(file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().mode() & 0o777
    }

    #[test]
    fn the_former_text_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("guideway.yaml");
        assert_eq!(replace(&file, "one").unwrap(), None, "there was none");
        assert!(former(&file).unwrap_err().starts_with("there is nothing to go back to"));
        assert_eq!(mode(&file), 0o600);
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(replace(&file, "two").unwrap(), Some(kept_path(&file)));
        assert_eq!((former(&file).unwrap(), mode(&kept_path(&file))), ("one".to_string(), 0o640));
        assert_eq!((fs::read_to_string(&file).unwrap(), mode(&file)), ("two".to_string(), 0o640));
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 2, "nothing else is left");
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("real"), "one").unwrap();
        std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
        replace(&at("link"), "two").unwrap();
        assert_eq!(fs::read_to_string(at("real")).unwrap(), "two");
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(at("real.previous")).unwrap(), "one");
    }

    /// No half of a file, and the old one is still there.
    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "one").unwrap();
        fs::create_dir(directory.path().join(".file.new")).unwrap();
        assert!(replace(&file, "two").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
    }

    #[test]
    fn private() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state");
        write_private(&file, b"one").unwrap();
        write_private(&file, b"two").unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode(&file)), (b"two".to_vec(), 0o600));
    }
}
