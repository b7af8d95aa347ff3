//! What a file or a folder of files serves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::source::grpc::make;
use crate::source::grpc::peer::Served;
use crate::source::grpc::proto::Resource;
use crate::source::yaml::values::{names_in, parse_served};
use crate::source::yaml::{ConfigError, read_text, refuse_file};

/// Where it is read from.
pub struct State {
    path: PathBuf,
    force: bool,
}

impl State {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(path: &Path, force: bool) -> Result<(State, Served), ConfigError> {
        let state = State { path: path.to_path_buf(), force };
        let (revision, resources) = state.read()?;
        Ok((state, Served { revision, force, resources }))
    }

    /// Reads it again; none: it serves the same.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_again(&mut self, before: &Served) -> Result<Option<Served>, ConfigError> {
        let (revision, resources) = self.read()?;
        if resources == before.resources {
            return Ok(None);
        }
        // Copied with its old time, or written twice within a tick of the clock.
        let revision = revision.max(before.revision + 1);
        Ok(Some(Served { revision, force: self.force, resources }))
    }

    fn read(&self) -> Result<(u64, BTreeMap<String, Arc<Resource>>), ConfigError> {
        let mut revision = 0;
        let mut resources = BTreeMap::new();
        for file in self.files()? {
            let name = file.display().to_string();
            let served = parse_served(&name, &read_text(&file)?)?;
            revision = revision.max(served.revision.unwrap_or_else(|| written_unix_ms(&file)));
            for (service, value) in served.services {
                let resource = make(&service, &value, 0).map_err(|problem| {
                    refuse_file(&file, &format!("{service}: {problem}"), "values of their kinds")
                })?;
                if resources.insert(service.clone(), Arc::new(resource)).is_some() {
                    let problem = format!("`{service}` is in another file already");
                    return Err(refuse_file(&file, &problem, "each service once"));
                }
            }
        }
        Ok((revision, resources))
    }

    fn files(&self) -> Result<Vec<PathBuf>, ConfigError> {
        if !self.path.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let names = names_in(&self.path).map_err(|error| {
            refuse_file(&self.path, &format!("cannot be read: {error}"), "a folder of YAML files")
        })?;
        Ok(names.into_iter().map(|name| self.path.join(name)).collect())
    }
}

fn written_unix_ms(file: &Path) -> u64 {
    let written = fs::metadata(file).and_then(|metadata| metadata.modified());
    let since = written.ok().and_then(|written| written.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_grow_with_what_is_served() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state.yaml");
        let write = |inside: &str| fs::write(&file, format!("version: 1\n{inside}\n")).unwrap();
        write("services: [{ name: a, port: 1 }]");
        let (mut state, first) = State::open(&file, false).unwrap();
        assert!(first.revision > 1_600_000_000_000, "{}", first.revision);
        write("# the same\nservices: [{ name: a, port: 1 }]");
        assert_eq!(state.read_again(&first).unwrap(), None);
        write("revision: 7\nservices: [{ name: a, port: 2 }]");
        let second = state.read_again(&first).unwrap().unwrap();
        assert_eq!(second.revision, first.revision + 1, "never back");
        assert_ne!(second.resources["a"].version, first.resources["a"].version);
        assert_eq!(State::open(&file, true).unwrap().1.revision, 7);
        write("services: [{ name: a, prot: 2 }]");
        let error = state.read_again(&second).unwrap_err().to_string();
        assert!(error.contains("prot"), "{error}");
    }

    #[test]
    fn a_folder_is_all_of_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, service: &str| {
            let text = format!("version: 1\nservices: [{{ name: {service} }}]\n");
            fs::write(directory.path().join(name), text).unwrap();
        };
        write("one.yaml", "a");
        write("two.yaml", "b");
        let names: Vec<String> =
            State::open(directory.path(), false).unwrap().1.resources.into_keys().collect();
        assert_eq!(names, ["a", "b"]);
        write("two.yaml", "a");
        let error = State::open(directory.path(), false).err().unwrap().to_string();
        assert!(error.contains("in another file already"), "{error}");
    }
}
