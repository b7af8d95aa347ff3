//! Tells when a file, or one of a folder's, may have another content.
//!
//! Watched are directories, not the file: editors and `rename` put a new file in the old one's place,
//! and a Kubernetes ConfigMap swaps a symlink two steps away, so a watch of the file itself would stay
//! with one that is gone. Whatever the event, what counts is whether the file looks different.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::looks::{Looks, all_looks};

/// Quiet time after which a change is taken as whole: editors write in several steps. One that takes longer
/// between two steps has its first half refused, which changes nothing, and its second one taken.
pub const DEBOUNCE: Duration = Duration::from_millis(50);
/// A file that changes all the time is told of after this many debounce times all the same.
const PATIENCE: u32 = 20;
/// How often the file is looked at without an event: network file systems send none, and a watched
/// directory can itself be replaced.
const LOOK: Duration = Duration::from_secs(5);
/// Symlinks that are followed, as many as Linux does (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A file, or a folder of files, that is being watched.
pub struct FileWatch {
    file: PathBuf,
    debounce: Duration,
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
    event: Arc<Notify>,
    seen: Vec<Looks>,
}

impl FileWatch {
    /// Watches a file, which need not be there yet. Changes from here on are told, so make the watch
    /// before the file is read.
    ///
    /// Where the kernel gives no watch (`fs.inotify.max_user_instances` is used up, say), the file is
    /// looked at every few seconds.
    pub fn new(file: &Path, debounce: Duration) -> FileWatch {
        let event = Arc::new(Notify::new());
        let teller = Arc::clone(&event);
        let watcher = notify::recommended_watcher(move |told: notify::Result<notify::Event>| {
            // Reading the file is an event too, and ours.
            if !told.is_ok_and(|event| event.kind.is_access()) {
                teller.notify_one();
            }
        });
        let watcher = watcher.inspect_err(|error| tell_slow(file, error)).ok();
        let mut watch = FileWatch {
            // The working directory may change; the file is the one it is now.
            file: std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf()),
            debounce,
            watcher,
            directories: BTreeSet::new(),
            event,
            seen: vec![],
        };
        watch.follow();
        watch.seen = all_looks(&watch.file);
        watch
    }

    /// Waits until the file has changed and is quiet again; a file that went away has changed too.
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            if all_looks(&self.file) != self.seen {
                self.settle().await;
                self.follow();
                let now = all_looks(&self.file);
                if now != self.seen {
                    self.seen = now;
                    return;
                }
            }
            let _ = timeout_at(Instant::now() + LOOK, self.event.notified()).await;
            // Before the next look, so that what a new link leads to is not missed.
            self.follow();
        }
    }

    /// Until the file has looked the same for the debounce time.
    async fn settle(&self) {
        let mut last = all_looks(&self.file);
        for _ in 0..PATIENCE {
            sleep(self.debounce).await;
            let now = all_looks(&self.file);
            if now == last {
                return;
            }
            last = now;
        }
    }

    /// Watches the directories in which something can change what the path leads to.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted = directories(&self.file);
        for gone in self.directories.difference(&wanted) {
            // It may be gone with its watch.
            let _ = watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for directory in wanted {
            let known = self.directories.contains(&directory);
            // One that is not there yet is tried again at the next look.
            if known || watcher.watch(&directory, RecursiveMode::NonRecursive).is_ok() {
                watched.insert(directory);
            }
        }
        self.directories = watched;
    }
}

fn tell_slow(file: &Path, error: &notify::Error) {
    tracing::warn!(
        file = %file.display(),
        %error,
        "the kernel gives no watch for the configuration file; it is looked at every {} s",
        LOOK.as_secs()
    );
}

/// The directories that hold the file, and each symlink on the way to it; a folder itself.
fn directories(file: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let (mut path, mut links) = (file.to_path_buf(), 0);
    'path: while links < MAX_LINKS {
        let mut walked = PathBuf::new();
        for part in path.components() {
            let parent = walked.clone();
            walked.push(part);
            let Ok(target) = std::fs::read_link(&walked) else { continue };
            found.insert(parent.clone());
            // What the link says stands in its place, and the walk begins anew.
            let rest = path.strip_prefix(&walked).unwrap_or(Path::new("")).to_path_buf();
            path = parent.join(target);
            if !rest.as_os_str().is_empty() {
                path.push(rest);
            }
            links += 1;
            continue 'path;
        }
        break;
    }
    found.extend(path.parent().map(Path::to_path_buf));
    if path.is_dir() {
        found.insert(path);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    /// Only a broken watch waits for so long.
    const LONG: Duration = Duration::from_secs(30);

    async fn is_told(watch: &mut FileWatch, what: &str) {
        assert!(tokio::time::timeout(LONG, watch.changed()).await.is_ok(), "{what}");
    }

    async fn is_quiet(watch: &mut FileWatch, what: &str) {
        assert!(tokio::time::timeout(SHORT * 5, watch.changed()).await.is_err(), "{what}");
    }

    #[tokio::test]
    async fn each_way_to_write_a_file_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("f"), "1").unwrap();
        let mut watch = FileWatch::new(&at("f"), SHORT);
        is_quiet(&mut watch, "nothing happened").await;

        fs::write(at("f"), "22").unwrap();
        is_told(&mut watch, "written in place").await;
        is_quiet(&mut watch, "once").await;

        fs::write(at("new"), "3").unwrap();
        is_quiet(&mut watch, "another file").await;
        fs::rename(at("new"), at("f")).unwrap();
        is_told(&mut watch, "replaced by rename").await;

        fs::rename(at("f"), at("f~")).unwrap();
        fs::write(at("f"), "4").unwrap();
        is_told(&mut watch, "moved away and written anew, as editors do").await;
        is_quiet(&mut watch, "once").await;

        fs::remove_file(at("f")).unwrap();
        is_told(&mut watch, "removed").await;
        fs::write(at("f"), "5").unwrap();
        is_told(&mut watch, "there again").await;

        fs::read_to_string(at("f")).unwrap();
        is_quiet(&mut watch, "only read").await;
    }

    #[tokio::test]
    async fn a_config_map_swap_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for version in ["..1", "..2", "..3"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("f"), "same length").unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/f", at("f")).unwrap();
        let mut watch = FileWatch::new(&at("f"), SHORT);
        for version in ["..2", "..3"] {
            symlink(version, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            is_told(&mut watch, version).await;
        }
        fs::write(at("..3").join("f"), "behind the links").unwrap();
        is_told(&mut watch, "written behind the links").await;
    }

    #[tokio::test]
    async fn each_file_of_a_folder_is_watched() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a.yaml"), "1").unwrap();
        let mut watch = FileWatch::new(directory.path(), SHORT);
        is_quiet(&mut watch, "nothing happened").await;
        fs::write(at("a.yaml"), "22").unwrap();
        is_told(&mut watch, "written in place").await;
        fs::write(at("b.yaml"), "1").unwrap();
        is_told(&mut watch, "a new one").await;
        fs::remove_file(at("a.yaml")).unwrap();
        is_told(&mut watch, "one is gone").await;
        is_quiet(&mut watch, "once").await;
    }

    #[tokio::test]
    async fn a_directory_that_is_replaced_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d").join("f"), "1").unwrap();
        let mut watch = FileWatch::new(&at("d/f"), SHORT);
        fs::rename(at("d"), at("old")).unwrap();
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d").join("f"), "2").unwrap();
        is_told(&mut watch, "another directory").await;
    }

    #[test]
    fn links_without_end_are_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        symlink("b", at("a")).unwrap();
        symlink("a", at("b")).unwrap();
        assert!(directories(&at("a")).contains(directory.path()));
    }
}
