//! The configuration: one file, or a folder of files of which each is refused or taken by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::admin::ChangeRequest;
use crate::cli::moment::now_unix_ms;
use crate::control::{
    Delivery, DesiredState, Drains, Form, HeldChange, Merged, Merger, NodeSpec, Outcome, Part,
    Refusal, Source, Topology, Unit, check_against,
};
use crate::source::yaml::folder::{Changed, Folder, LoadedPart, MAIN, parse_part};
use crate::source::yaml::{self, ConfigError, LoadedConfig};

use super::drains;
use super::last_good::{LastGood, ago};

/// File or folder; feeds come behind it.
const YAML: usize = 0;

/// Lines of one kind that are told at once.
pub const MOST_LINES: usize = 50;

/// The configuration as it was read last, and what is in force of it.
pub struct Sources {
    path: PathBuf,
    /// None: a single file.
    folder: Option<Folder>,
    main: LoadedConfig,
    merger: Merger,
    good: LastGood,
    /// Texts that are in force, or will be once confirmed, and are not kept yet; none: it is gone.
    to_keep: BTreeMap<String, Option<Arc<str>>>,
}

/// What has been read and is not in force yet.
#[derive(Default)]
pub struct Read {
    main: Option<Result<LoadedConfig, ConfigError>>,
    parts: Vec<(String, Result<LoadedPart, ConfigError>)>,
    gone: Vec<String>,
    /// At start: the last good forms of files that are refused, and since when there are such.
    earlier: Vec<(String, LoadedPart, u64)>,
    /// At start: why the main file is refused, in the place of which its last good form is used.
    main_refused: Option<(ConfigError, u64)>,
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
    /// Reads all of it for the first time. Of a file that is refused the form is used that was in force
    /// last, if there is one: that of the main file is looked for in `state_dir`.
    ///
    /// # Errors
    /// What is wrong with the main file, or that there is none.
    pub fn open(path: &Path, state_dir: &Path) -> Result<(Sources, Read), ConfigError> {
        let name = path.display().to_string();
        let (folder, mut read) = if path.is_dir() {
            let mut folder = Folder::new(path);
            let read = read_folder(&mut folder)?;
            (Some(folder), read)
        } else {
            (None, Read { main: Some(yaml::load(path)), ..Read::default() })
        };
        let none = || yaml::refuse_file(&path.join(MAIN), "there is none", "a main file");
        let main = match read.main.take().ok_or_else(none)? {
            Ok(main) => main,
            Err(error) => {
                let good = LastGood::new(state_dir, path);
                let kept = good.read(&main_name(path, folder.is_some()));
                let Some(kept) = kept else { return Err(error) };
                // What was in force once may not be any more, to a newer version.
                let Ok(main) = yaml::parse(&error.file, &kept.text) else { return Err(error) };
                read.main_refused = Some((error, kept.taken_unix_ms));
                main
            }
        };
        read.main = Some(Ok(main.clone()));
        let good = LastGood::new(&main.node.state_dir, path);
        for (name, part) in &read.parts {
            let Err(error) = part else { continue };
            let Some(kept) = good.read(name) else { continue };
            if let Ok(form) = parse_part(&error.file, &kept.text) {
                read.earlier.push((name.clone(), form, kept.taken_unix_ms));
            }
        }
        let feeds = main.node.feeds.iter();
        let feeds = feeds.map(|feed| Source::new(&feed_name(&feed.name), Unit::Service));
        let sources = std::iter::once(Source::new(&name, Unit::File)).chain(feeds);
        let mut merger = Merger::new(sources.collect());
        merger.set_drains(drains::read(&main.node.state_dir, now_unix_ms()));
        let (path, to_keep) = (path.to_path_buf(), BTreeMap::new());
        Ok((Sources { path, folder, main, merger, good, to_keep }, read))
    }

    /// Keeps on disk what is in force by now.
    pub fn keep_good(&mut self) {
        if self.is_held() {
            return;
        }
        for (name, text) in std::mem::take(&mut self.to_keep) {
            let kept = match &text {
                Some(text) => self.good.keep(&name, text, now_unix_ms()),
                None => self.good.forget(&name),
            };
            if let Err(error) = kept {
                tracing::warn!(name, %error, "the last good form is not kept: see `state_dir`");
            }
        }
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
        // It may be put right by becoming again what is in force.
        let name = self.merger.sources()[YAML].name();
        let is_refused = self.merged().refused.iter().any(|one| one.owner.source == *name);
        let is_new = config.text != self.main.text || is_refused;
        Ok(Read { main: is_new.then_some(Ok(config)), ..Read::default() })
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
        let mut deliveries: Vec<(Arc<str>, Delivery)> = Vec::new();
        for (name, form, taken_unix_ms) in read.earlier {
            tell_earlier(&form.file, taken_unix_ms);
            // What is refused for itself is delivered behind it.
            if let Ok(form) = check_part(form, running, topology) {
                deliveries.push((name.into(), whole(&form.desired)));
            }
        }
        if let Some(main) = read.main {
            let checked = main.and_then(|main| check_main(main, running, topology));
            let delivery = match (checked, &self.folder) {
                (Err(error), None) => return Err(error),
                (Err(error), Some(_)) => refused(&error),
                (Ok(main), _) => {
                    let name = main_name(&self.path, self.folder.is_some());
                    self.to_keep.insert(name, Some(main.text.clone()));
                    let whole = whole(&main.desired);
                    self.main = main;
                    whole
                }
            };
            let name: Arc<str> = if self.folder.is_some() { MAIN } else { "" }.into();
            deliveries.push((name.clone(), delivery));
            if let Some((error, taken_unix_ms)) = read.main_refused {
                tell_earlier(&error.file, taken_unix_ms);
                deliveries.push((name, refused(&error)));
            }
        }
        for (name, part) in read.parts {
            let checked = part.and_then(|part| check_part(part, running, topology));
            let delivery = match checked {
                Err(error) => refused(&error),
                Ok(part) => {
                    self.to_keep.insert(name.clone(), Some(part.text()));
                    whole(&part.desired)
                }
            };
            deliveries.push((name.into(), delivery));
        }
        for name in read.gone {
            let delivery = if name == MAIN {
                let main = self.path.join(MAIN);
                refused(&yaml::refuse_file(&main, "it is gone", "the main file"))
            } else {
                self.to_keep.insert(name.clone(), None);
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

    /// Backends that are drained by hand.
    pub fn drains(&self) -> &Drains {
        self.merger.drains()
    }

    /// From now on these are drained by hand, and no others.
    pub fn set_drains(&mut self, drains: Drains) {
        self.merger.set_drains(drains);
    }

    /// Does a change of file or folder wait to be confirmed?
    pub fn is_held(&self) -> bool {
        self.merger.sources()[YAML].held().is_some()
    }

    /// The changes that wait are meant. Was there one?
    pub fn confirm(&mut self) -> bool {
        let sources = 0..self.merger.sources().len();
        sources.filter(|&source| self.merger.confirm(source)).count() > 0
    }

    /// Takes over what came from a feed; what is refused of it is in [`Merged::refused`].
    pub fn take_feed(
        &mut self,
        feed: usize,
        deliveries: Vec<Delivery>,
        running: &NodeSpec,
        topology: &Topology,
    ) -> Outcome {
        let checked = deliveries.into_iter().flat_map(|delivery| match delivery {
            Delivery::Some(forms, removed) => {
                let (forms, unfit) = check_forms(forms, running, topology);
                vec![Delivery::Some(forms, removed), Delivery::Unfit(unfit)]
            }
            other => vec![other],
        });
        let deliveries = checked.map(|delivery| ("".into(), delivery)).collect();
        self.merger.take(YAML + 1 + feed, deliveries)
    }

    /// What is refused of a feed's services, by name, a line for each problem.
    pub fn refused_of(&self, feed: usize) -> BTreeMap<String, Vec<String>> {
        let Some(source) = self.merger.sources().get(YAML + 1 + feed) else {
            return BTreeMap::new();
        };
        let of = self.merged().refused.iter().filter(|one| one.owner.source == *source.name());
        of.filter_map(|refused| {
            let name = refused.owner.what.strip_prefix("service ")?;
            let lines = refused.refusals.iter().map(ToString::to_string).collect();
            Some((name.to_string(), lines))
        })
        .collect()
    }

    /// What is not in force of file or folder, a line each.
    pub fn told(&self) -> Option<String> {
        let name = self.merger.sources()[YAML].name();
        let refused = self.merged().refused.iter().filter(|one| one.owner.source == *name);
        let held = self.merged().held.iter().filter(|held| held.source == *name);
        let held = held.map(|held| format!("{held}: by SIGHUP, once it is read"));
        let lines = refused.map(ToString::to_string).chain(held).take(MOST_LINES);
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// As it is now, to come back to it.
    pub fn mark(&self, read: &Read) -> Mark {
        Mark {
            main: self.main.clone(),
            merger: self.merger.clone(),
            to_keep: self.to_keep.clone(),
            read: read.names(),
        }
    }

    /// Back to what it was: what was read since is read again next time.
    pub fn back_to(&mut self, mark: Mark) {
        (self.main, self.merger, self.to_keep) = (mark.main, mark.merger, mark.to_keep);
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
    to_keep: BTreeMap<String, Option<Arc<str>>>,
    read: Vec<String>,
}

/// What the main file is called.
fn main_name(path: &Path, is_folder: bool) -> String {
    let name = path.file_name().filter(|_| !is_folder);
    name.map_or_else(|| MAIN.to_string(), |name| name.to_string_lossy().into_owned())
}

fn tell_earlier(file: &str, taken_unix_ms: u64) {
    let taken = ago(now_unix_ms(), taken_unix_ms);
    tracing::error!(file, taken, "the file is refused: its last good form is in force");
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

/// What a feed is called beside the other sources.
fn feed_name(name: &str) -> String {
    format!("feed {name}")
}

/// Those that can work on this machine, and why the others cannot.
fn check_forms(
    forms: Vec<Form>,
    running: &NodeSpec,
    topology: &Topology,
) -> (Vec<Form>, Vec<(String, Vec<Refusal>)>) {
    let services = forms.iter().map(|form| form.spec.clone()).collect();
    let desired = DesiredState { services, ..DesiredState::default() };
    let mut unfit: BTreeMap<usize, Vec<Refusal>> = BTreeMap::new();
    for mut refusal in check_against(&desired, running, topology) {
        let inside = refusal.path.strip_prefix("services[").and_then(|path| path.split_once(']'));
        let Some((place, field)) = inside else { continue };
        let Some(form) = place.parse().ok().and_then(|place: usize| forms.get(place)) else {
            continue;
        };
        let at = place.parse().unwrap_or_default();
        refusal.path = format!("services[{}]{field}", form.spec.name);
        unfit.entry(at).or_default().push(refusal);
    }
    let (mut good, mut bad) = (vec![], vec![]);
    for (place, form) in forms.into_iter().enumerate() {
        match unfit.remove(&place) {
            Some(refusals) => bad.push((form.spec.name.clone(), refusals)),
            None => good.push(form),
        }
    }
    (good, bad)
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

#[cfg(test)]
mod tests;
