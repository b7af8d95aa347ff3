//! YAML files -> node spec and desired state, with errors that show line, column and caret.
//!
//! Plain YAML 1.2: anchors and aliases are read; tags, merge keys, directives and further documents
//! are refused, and so is every key that is not known. All problems that are found are told at once.

mod desired;
mod error;
mod feeds;
pub mod folder;
mod health_check;
mod json_schema;
mod kubernetes;
mod looks;
mod node;
mod reader;
mod replay;
mod scalar;
mod schema;
mod shapes;
mod tree;
pub mod values;
#[cfg(feature = "program")]
pub mod watch;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

pub use error::{ConfigError, Problem};
pub use json_schema::{REFERENCE, json_schema};
pub use replay::{ReplayLink, ReplayRoute, ReplaySpec};

use crate::control::{self, DesiredState, NodeSpec, Refusal};
use error::{Finding, MAX_FINDINGS, Place};
use reader::{Findings, Item, Section};
use tree::{Kind, Node};

/// What `state_dir` is where nothing is said.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/guideway";
/// Bytes of a file. 65,536 backends take about 5 MB.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a line: nobody writes more, and showing a caret in one takes time.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// A file that was read and is fine in itself.
#[derive(Clone)]
pub struct LoadedConfig {
    /// The file as it was named.
    pub file: String,
    /// What is fixed at start.
    pub node: NodeSpec,
    /// What may change.
    pub desired: DesiredState,
    /// The written-down world for `guideway replay`.
    pub replay: Option<ReplaySpec>,
    /// The file's text.
    pub text: Arc<str>,
    /// Knows where everything stands.
    tree: Arc<Node>,
}

impl fmt::Debug for LoadedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedConfig")
            .field("file", &self.file)
            .field("node", &self.node)
            .field("desired", &self.desired)
            .field("replay", &self.replay)
            .finish_non_exhaustive()
    }
}

impl LoadedConfig {
    /// Shows refusals that were found later with line and caret, as if the file had been read anew.
    pub fn refuse(&self, refusals: Vec<Refusal>) -> ConfigError {
        ConfigError::new(&self.file, &self.text, placed(&self.tree, refusals))
    }

    /// Line and column, both from 1, where the value of a path stands; of a path that is not in the
    /// file, the nearest thing above it.
    pub fn place_of(&self, path: &str) -> (u32, u32) {
        let place = self.tree.locate(path);
        (place.line, place.column)
    }

    /// Is what is fixed at start as `running` has it? If not, the file is refused: only a restart
    /// can take it.
    ///
    /// # Errors
    /// Each part of the node that differs, shown at its place.
    pub fn check_same_node(&self, running: &NodeSpec) -> Result<(), ConfigError> {
        let (new, old) = (&self.node, running);
        let same = [
            ("interfaces", new.interfaces == old.interfaces),
            ("workers", new.workers == old.workers),
            ("limits", new.limits == old.limits),
            ("admin.socket", new.admin_socket == old.admin_socket),
            ("admin.http", new.http == old.http),
            ("state_dir", new.state_dir == old.state_dir),
            ("bpf_dir", new.bpf_dir == old.bpf_dir),
            ("cluster_key_file", new.cluster_key_file == old.cluster_key_file),
            ("flow_records", new.flow_records == old.flow_records),
            ("feeds", new.feeds == old.feeds),
            ("kubernetes", new.kubernetes == old.kubernetes),
        ];
        let changed = same.into_iter().filter(|(_, same)| !same).map(|(path, _)| Refusal {
            path: path.to_string(),
            problem: "it is fixed while Guideway runs".to_string(),
            wanted: "what it was at start, or a restart".to_string(),
        });
        let refusals: Vec<Refusal> = changed.collect();
        if refusals.is_empty() { Ok(()) } else { Err(self.refuse(refusals)) }
    }
}

fn placed(tree: &Node, refusals: Vec<Refusal>) -> Vec<Finding> {
    let finding = |Refusal { path, problem, wanted }: Refusal| {
        let place = tree.locate(&path);
        Finding::new(path, Some(place), problem, wanted)
    };
    refusals.into_iter().take(MAX_FINDINGS).map(finding).collect()
}

/// Milliseconds of a duration such as `2h4m`, written as in a file.
pub fn duration_ms(text: &str) -> Option<u64> {
    Some(text).filter(|text| !text.is_empty()).and_then(scalar::milliseconds)
}

/// A duration as files have it, such as `2h4m`, in milliseconds.
///
/// # Errors
/// What is wrong with it.
pub fn duration_in_ms(text: &str) -> Result<u32, String> {
    let read = scalar::duration_ms(0, u32::MAX)(scalar::Scalar { text, plain: true });
    read.map_err(|wrong| {
        let hint = wrong.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}; wanted {}{hint}", wrong.problem, wrong.wanted)
    })
}

/// A refusal of a file as a whole.
pub fn refuse_file(path: &Path, problem: &str, wanted: &str) -> ConfigError {
    ConfigError::of_file(&path.display().to_string(), problem, wanted)
}

/// Reads a file.
///
/// # Errors
/// All problems that were found; nothing of a refused file may be used.
pub fn load(path: &Path) -> Result<LoadedConfig, ConfigError> {
    parse(&path.display().to_string(), &read_text(path)?)
}

/// The text of a file.
///
/// # Errors
/// That it cannot be read, is too large, or is no text.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    let name = path.display().to_string();
    text_of(&name, read(&name, path)?)
}

/// The bytes of a file.
fn read(name: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    read_limited(path).map_err(|error| {
        let (problem, wanted) = match error.kind() {
            std::io::ErrorKind::FileTooLarge => {
                ("the file is too large".to_string(), format!("at most {MAX_FILE_BYTES} bytes"))
            }
            _ => {
                (format!("cannot be read: {error}"), "a file of YAML that can be read".to_string())
            }
        };
        ConfigError::of_file(name, problem, &wanted)
    })
}

/// A file's text.
fn text_of(name: &str, bytes: Vec<u8>) -> Result<String, ConfigError> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let (bytes, error) = (error.as_bytes(), error.utf8_error());
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            let place = Place::new(line, column, 1);
            let problem = format!("the byte 0x{byte:02x} is not UTF-8");
            let text = String::from_utf8_lossy(bytes);
            let finding = Finding::new("", Some(place), problem, "UTF-8 text");
            Err(refuse_size(name, &text)
                .unwrap_or_else(|| ConfigError::new(name, &text, vec![finding])))
        }
    }
}

fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that grows, and pipes that never end.
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Reads a text; `name` is what errors call it.
///
/// # Errors
/// All problems that were found.
pub fn parse(name: &str, text: &str) -> Result<LoadedConfig, ConfigError> {
    let (text, tree, (node, desired, replay)) = parse_by(name, text, interpret)?;
    let refuse = |findings| ConfigError::new(name, text, findings);
    let mut refusals = control::validate(&desired);
    refusals.extend(cross_check(&node, &desired, replay.as_ref()));
    if !refusals.is_empty() {
        return Err(refuse(placed(&tree, refusals)));
    }
    Ok(LoadedConfig { file: name.to_string(), node, desired, replay, text: text.into(), tree })
}

type Parsed<'t, T> = (&'t str, Arc<Node>, T);

/// Text to tree to values; what is found on the way refuses it.
fn parse_by<'t, T>(
    name: &str,
    text: &'t str,
    interpret: impl Fn(&Node, &Findings) -> Option<T>,
) -> Result<Parsed<'t, T>, ConfigError> {
    // A byte-order mark is allowed at the start of YAML, and would be a column of its own.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(error) = refuse_size(name, text) {
        return Err(error);
    }
    let refuse = |findings| ConfigError::new(name, text, findings);
    let (tree, mut found) = tree::read(text);
    let Some(tree) = tree else { return Err(refuse(found)) };
    let findings = Findings::default();
    let read = interpret(&tree, &findings);
    found.extend(findings.into_vec());
    match read.filter(|_| found.is_empty()) {
        Some(read) => Ok((text, tree, read)),
        None => Err(refuse(found)),
    }
}

fn refuse_size(name: &str, text: &str) -> Option<ConfigError> {
    if text.len() > MAX_FILE_BYTES {
        let wanted = format!("at most {MAX_FILE_BYTES} bytes");
        return Some(ConfigError::of_file(name, "the file is too large", &wanted));
    }
    let (line, long) = text.lines().enumerate().find(|(_, line)| line.len() > MAX_LINE_BYTES)?;
    let problem = format!("a line of {} bytes", long.len());
    let place = Some(Place::new(line + 1, 1, 1));
    let wanted = format!("lines of at most {MAX_LINE_BYTES} bytes");
    // The line itself is not worth showing.
    Some(ConfigError::new(name, "", vec![Finding::new("", place, problem, wanted)]))
}

type Read3 = (NodeSpec, DesiredState, Option<ReplaySpec>);

fn interpret(tree: &Node, findings: &Findings) -> Option<Read3> {
    let root = open_root(tree, &schema::ROOT, findings)?;
    let version: Option<u32> = root.get("version", scalar::number(1..=1));
    let node = node::read(&root);
    let desired = desired::read(&root);
    let replay = if root.has("replay") {
        root.section("replay", &schema::REPLAY).and_then(|section| replay::read(&section)).map(Some)
    } else {
        Some(None)
    };
    version?;
    Some((node?, desired?, replay?))
}

fn open_root<'t>(
    tree: &'t Node,
    schema: &'static schema::Schema,
    findings: &'t Findings,
) -> Option<Section<'t>> {
    if let Kind::Scalar { text, plain: true } = &tree.kind
        && tree::is_null(text)
    {
        findings.add(Finding::new("", None, "the file is empty", tree::EMPTY_WANTED));
        return None;
    }
    let item = Item { node: tree, path: String::new() };
    Section::open(item, schema, findings)
}

/// What only the parts of a file together can tell.
fn cross_check(
    node: &NodeSpec,
    desired: &DesiredState,
    replay: Option<&ReplaySpec>,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let names: Vec<&str> = node.interfaces.iter().map(|i| i.name.as_str()).collect();
    for (place, snat) in desired.snat.iter().enumerate() {
        if let Some(interface) = snat.interface.as_deref().filter(|name| !names.contains(name)) {
            refusals.push(Refusal {
                path: format!("snat[{place}].interface"),
                problem: format!("`{interface}` is not in `interfaces`"),
                wanted: scalar::one_of(&names),
            });
        }
    }
    let backends: usize = desired.services.iter().map(|service| service.backends.len()).sum();
    if backends > node.limits.backends {
        refusals.push(Refusal {
            path: "limits.backends".to_string(),
            problem: format!("there are {backends} backends, more than {}", node.limits.backends),
            wanted: format!("{backends} or more, and some for those that are removed"),
        });
    }
    let strangers = replay.map(|replay| replay::strangers(replay, node, desired));
    for (path, problem, wanted) in strangers.unwrap_or_default() {
        refusals.push(Refusal { path, problem, wanted });
    }
    refusals
}

#[cfg(test)]
mod tests;
