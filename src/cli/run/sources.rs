//! The configuration: one file, or a folder of files of which each is refused or taken by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::admin::ChangeRequest;
use crate::control::{
    Delivery, DesiredState, Form, HeldChange, Merged, Merger, NodeSpec, Outcome, Part, Refusal,
    Source, Topology, Unit, check_against,
};
use crate::source::yaml::folder::{Changed, Folder, LoadedPart, MAIN, parse_part};
use crate::source::yaml::{self, ConfigError, LoadedConfig};

/// The one source there is.
const YAML: usize = 0;

/// The configuration as it was read last, and what is in force of it.
pub struct Sources {
    path: PathBuf,
    /// None: a single file.
    folder: Option<Folder>,
    main: LoadedConfig,
    merger: Merger,
}

/// What has been read and is not in force yet.
#[derive(Default)]
pub struct Read {
    main: Option<Result<LoadedConfig, ConfigError>>,
    parts: Vec<(String, Result<LoadedPart, ConfigError>)>,
    gone: Vec<String>,
}

impl Read {
    /// Nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.main.is_none() && self.parts.is_empty() && self.gone.is_empty()
    }

    /// The names of files that were read.
    fn names(&self) -> Vec<String> {
        let main = self.main.as_ref().map(|_| MAIN.to_string());
        main.into_iter().chain(self.parts.iter().map(|(name, _)| name.clone())).collect()
    }
}

impl Sources {
    /// Reads all of it for the first time. The main file has to be fine.
    ///
    /// # Errors
    /// What is wrong with the main file, or that there is none.
    pub fn open(path: &Path) -> Result<(Sources, Read), ConfigError> {
        let name = path.display().to_string();
        let (folder, mut read) = if path.is_dir() {
            let mut folder = Folder::new(path);
            let read = read_folder(&mut folder)?;
            (Some(folder), read)
        } else {
            let main = Some(Ok(yaml::load(path)?));
            (None, Read { main, ..Read::default() })
        };
        let none = || yaml::refuse_file(&path.join(MAIN), "there is none", "a main file");
        let main = read.main.take().ok_or_else(none)??;
        read.main = Some(Ok(main.clone()));
        let merger = Merger::new(vec![Source::new(&name, Unit::File)]);
        Ok((Sources { path: path.to_path_buf(), folder, main, merger }, read))
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The main file, for what is fixed at start and to show refusals in.
    pub fn main(&self) -> &LoadedConfig {
        &self.main
    }

    /// What is in force.
    pub fn merged(&self) -> &Merged {
        self.merger.merged()
    }

    /// Reads what has changed.
    ///
    /// # Errors
    /// What is wrong with a single file, or that the folder cannot be read.
    pub fn read(&mut self) -> Result<Read, ConfigError> {
        if let Some(folder) = &mut self.folder {
            return read_folder(folder);
        }
        let config = yaml::load(&self.path)?;
        let main = (config.text != self.main.text).then_some(Ok(config));
        Ok(Read { main, ..Read::default() })
    }

    /// Takes over what was read, each file by itself; what is refused of it is in [`Merged::refused`].
    ///
    /// # Errors
    /// Why a single file is refused; then nothing has changed.
    pub fn take(
        &mut self,
        read: Read,
        running: &NodeSpec,
        topology: &Topology,
    ) -> Result<Outcome, ConfigError> {
        let mut deliveries = Vec::new();
        if let Some(main) = read.main {
            let checked = main.and_then(|main| check_main(main, running, topology));
            let delivery = match (checked, &self.folder) {
                (Err(error), None) => return Err(error),
                (Err(error), Some(_)) => refused(&error),
                (Ok(main), _) => {
                    let whole = whole(&main.desired);
                    self.main = main;
                    whole
                }
            };
            let name = if self.folder.is_some() { MAIN } else { "" };
            deliveries.push((Arc::from(name), delivery));
        }
        for (name, part) in read.parts {
            let checked = part.and_then(|part| check_part(part, running, topology));
            let delivery = checked.map_or_else(|e| refused(&e), |part| whole(&part.desired));
            deliveries.push((name.into(), delivery));
        }
        for name in read.gone {
            let delivery = if name == MAIN {
                let main = self.path.join(MAIN);
                refused(&yaml::refuse_file(&main, "it is gone", "the main file"))
            } else {
                Delivery::Gone
            };
            deliveries.push((name.into(), delivery));
        }
        Ok(self.merger.take(YAML, deliveries))
    }

    /// Takes over what was read at start.
    ///
    /// # Errors
    /// Why the main file cannot work on this machine.
    pub fn take_first(&mut self, read: Read, topology: &Topology) -> Result<(), ConfigError> {
        let main = self.main.clone();
        let running = check_main(main.clone(), &main.node, topology)?.node;
        self.take(read, &running, topology).map(|_| ())
    }

    /// What would be wanted, were a file's text another one. A change that would have to be confirmed
    /// counts as confirmed.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn would(
        &self,
        request: &ChangeRequest,
        running: &NodeSpec,
        topology: &Topology,
    ) -> Result<Would, String> {
        let told = |error: ConfigError| error.to_string();
        let ChangeRequest { shown, name, text, .. } = request;
        let (part, delivery) = if self.folder.is_none() || name == MAIN {
            let main = yaml::parse(shown, text).map_err(told)?;
            let main = check_main(main, running, topology).map_err(told)?;
            (if self.folder.is_some() { MAIN } else { "" }, whole(&main.desired))
        } else {
            let part = parse_part(shown, text).map_err(told)?;
            let part = check_part(part, running, topology).map_err(told)?;
            (name.as_str(), whole(&part.desired))
        };
        let mut merger = self.merger.clone();
        let held = merger.take(YAML, vec![(part.into(), delivery)]).held;
        if held.is_some() {
            merger.confirm(YAML);
        }
        // What is refused already is not this file's doing.
        let known = &self.merged().refused;
        let new = merger.merged().refused.iter().filter(|refused| !known.contains(refused));
        let new: Vec<String> = new.map(ToString::to_string).collect();
        if new.is_empty() {
            Ok(Would { desired: merger.merged().desired.clone(), held })
        } else {
            Err(new.join("\n"))
        }
    }

    /// The file that a name stands for.
    ///
    /// # Errors
    /// That it is none that would be read.
    pub fn file_of(&self, name: &str) -> Result<PathBuf, String> {
        if self.folder.is_none() {
            return Ok(self.path.clone());
        }
        let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        if is_yaml && !name.starts_with('.') && !name.contains('/') {
            return Ok(self.path.join(name));
        }
        let folder = self.path.display();
        Err(format!("`{name}` is no file of {folder}: wanted is a name such as `web.yaml`"))
    }

    /// Does a change wait to be confirmed?
    pub fn is_held(&self) -> bool {
        !self.merged().held.is_empty()
    }

    /// The change that waits is meant. Was there one?
    pub fn confirm(&mut self) -> bool {
        self.merger.confirm(YAML)
    }

    /// As it is now, to come back to it.
    pub fn mark(&self, read: &Read) -> Mark {
        Mark { main: self.main.clone(), merger: self.merger.clone(), read: read.names() }
    }

    /// Back to what it was: what was read since is read again next time.
    pub fn back_to(&mut self, mark: Mark) {
        (self.main, self.merger) = (mark.main, mark.merger);
        if let Some(folder) = &mut self.folder {
            folder.forget(&mark.read);
        }
    }
}

/// What would be wanted.
pub struct Would {
    /// All of it.
    pub desired: DesiredState,
    /// The change removes so many services that it has to be confirmed.
    pub held: Option<HeldChange>,
}

/// What [`Sources`] were.
pub struct Mark {
    main: LoadedConfig,
    merger: Merger,
    read: Vec<String>,
}

fn read_folder(folder: &mut Folder) -> Result<Read, ConfigError> {
    let changes = folder.read()?;
    let mut read = Read { gone: changes.gone, ..Read::default() };
    for (name, changed) in changes.changed {
        match changed {
            Changed::Main(main) => read.main = Some(*main),
            Changed::Part(part) => read.parts.push((name, *part)),
        }
    }
    Ok(read)
}

fn check_main(
    config: LoadedConfig,
    running: &NodeSpec,
    topology: &Topology,
) -> Result<LoadedConfig, ConfigError> {
    config.check_same_node(running)?;
    let refusals = check_against(&config.desired, running, topology);
    if refusals.is_empty() { Ok(config) } else { Err(config.refuse(refusals)) }
}

fn check_part(
    part: LoadedPart,
    running: &NodeSpec,
    topology: &Topology,
) -> Result<LoadedPart, ConfigError> {
    let refusals = check_against(&part.desired, running, topology);
    if refusals.is_empty() { Ok(part) } else { Err(part.refuse(refusals)) }
}

fn whole(desired: &DesiredState) -> Delivery {
    Delivery::Whole(Part {
        snat: desired.snat.clone(),
        tunnel_sources: desired.tunnel_sources.clone(),
        ..Part::of(desired.services.iter().cloned().map(Form::from))
    })
}

/// The problems of a file with their places.
fn refused(error: &ConfigError) -> Delivery {
    let refusal = |problem: &yaml::Problem| {
        let place = problem.line.zip(problem.column);
        let place = place.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
        Refusal {
            path: format!("{}{place} {}", error.file, problem.path).trim_end().to_string(),
            problem: problem.problem.clone(),
            wanted: problem.wanted.clone(),
        }
    };
    Delivery::Refused(error.problems.iter().map(refusal).collect())
}
