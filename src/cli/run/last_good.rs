//! The form of each file that was in force last, for a start at which the file itself is refused.
//!
//! Kept as text beside other state: one file for each, with a line in front that says what it is. It
//! holds no more secrets than the configuration does: none, for those stand in files of their own.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::replace_file::write_private;

/// What the first line begins with; behind it when it was taken over, and which file it is of. A later
/// version has another number, and reads this one, too.
const FIRST_LINE: &str = "# guideway last good form, version 1, taken over at Unix ms ";

/// Where the last good forms of a configuration's files are.
#[derive(Clone, Debug)]
pub struct LastGood {
    folder: PathBuf,
    /// File or folder of the configuration: forms of another one are not used.
    configured: PathBuf,
}

/// A form that was in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The file's text.
    pub text: String,
    /// When it was taken over.
    pub taken_unix_ms: u64,
}

impl LastGood {
    /// Of this configuration, in the state directory.
    pub fn new(state_dir: &Path, configured: &Path) -> LastGood {
        let configured = std::path::absolute(configured).unwrap_or_else(|_| configured.into());
        LastGood { folder: state_dir.join("last-good"), configured }
    }

    /// Keeps a file's text; one that is kept already keeps its time.
    ///
    /// # Errors
    /// What the file system says; an older form is as it was then.
    pub fn keep(&self, name: &str, text: &str, now_unix_ms: u64) -> io::Result<()> {
        if self.read(name).is_some_and(|kept| kept.text == text) {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let configured = self.configured.display();
        let all = format!("{FIRST_LINE}{now_unix_ms}, of {configured}\n{text}");
        write_private(&self.folder.join(name), all.as_bytes())
    }

    /// The file is no longer part of the configuration.
    ///
    /// # Errors
    /// What the file system says.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What was kept of a file of this configuration.
    pub fn read(&self, name: &str) -> Option<Kept> {
        let all = fs::read_to_string(self.folder.join(name)).ok()?;
        let (first, text) = all.strip_prefix(FIRST_LINE)?.split_once('\n')?;
        let (taken, of) = first.split_once(", of ")?;
        let is_ours = of == self.configured.display().to_string();
        let kept = Kept { text: text.to_string(), taken_unix_ms: taken.parse().ok()? };
        is_ours.then_some(kept)
    }
}

/// How long ago, in the largest unit that there is one of.
pub fn ago(now_unix_ms: u64, then_unix_ms: u64) -> String {
    let seconds = now_unix_ms.saturating_sub(then_unix_ms) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn kept_read_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let good = LastGood::new(directory.path(), Path::new("/etc/guideway"));
        assert_eq!(good.read("web.yaml"), None);
        good.keep("web.yaml", "version: 1\n", 7).unwrap();
        good.keep("web.yaml", "version: 1\n", 8).unwrap();
        let kept = Kept { text: "version: 1\n".to_string(), taken_unix_ms: 7 };
        assert_eq!(good.read("web.yaml"), Some(kept), "the time of the first one");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = directory.path().join("last-good/web.yaml");
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let other = LastGood::new(directory.path(), Path::new("/etc/other"));
        assert_eq!(other.read("web.yaml"), None, "of another configuration");
        good.keep("web.yaml", "other", 9).unwrap();
        assert_eq!(good.read("web.yaml").unwrap().taken_unix_ms, 9);
        good.forget("web.yaml").unwrap();
        good.forget("web.yaml").unwrap();
        assert_eq!(good.read("web.yaml"), None);
    }

    #[test]
    fn what_is_not_understood_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let good = LastGood::new(directory.path(), Path::new("/etc/guideway"));
        good.keep("f", "text", 7).unwrap();
        let file = directory.path().join("last-good/f");
        let all = fs::read_to_string(&file).unwrap();
        let broken = ["", "text", &all[..20], &all.replace("version 1", "version 2")];
        for broken in broken.into_iter().chain([&*all.replace("ms 7", "ms x")]) {
            fs::write(&file, broken).unwrap();
            assert_eq!(good.read("f"), None, "{broken}");
        }
    }

    #[test]
    fn ages() {
        let rows =
            [(0, "0 s ago"), (59_999, "59 s ago"), (60_000, "1 min ago"), (7_200_000, "2 h ago")];
        for (age_ms, wanted) in rows.into_iter().chain([(3 * 86_400_000, "3 d ago")]) {
            assert_eq!(ago(1_000_000_000 + age_ms, 1_000_000_000), wanted);
        }
    }
}
