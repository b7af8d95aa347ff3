//! YAML text -> a tree whose every node knows its place, with limits that a hostile file meets early.
//!
//! Built from parser events and not through serde: serde ends at the first problem, and we want all
//! of them, each with its path.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::error::{Finding, MAX_FINDINGS, Place, quoted};

/// Nodes of one file, aliases counted as often as they are used.
pub(super) const MAX_NODES: u32 = 2_000_000;
/// Keys of one map, so that looking for twins stays cheap. A real map has about twenty.
const MAX_KEYS: usize = 256;
/// Lists and maps inside each other. The deepest place of a real file is at 6.
pub(super) const MAX_DEPTH: u8 = 32;

/// A value and where it stands. An alias is the node it names, standing where that was defined.
#[derive(Debug)]
pub(super) struct Node {
    pub place: Place,
    pub kind: Kind,
    /// Nodes in it, itself included.
    size: u32,
    depth: u8,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// `plain`: without quotes, so that `80` is a number and `"80"` is not.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Arc<Node>>),
    Map(Vec<(Key, Arc<Node>)>),
}

#[derive(Debug)]
pub(super) struct Key {
    pub text: String,
    pub place: Place,
}

impl Node {
    /// A node that is in no file, of any size: whoever makes it knows its limits.
    pub fn without_place(place: Place, kind: Kind) -> Node {
        Node { place, kind, size: 0, depth: 0 }
    }

    /// What it is, in words.
    pub fn noun(&self) -> String {
        match &self.kind {
            Kind::Scalar { text, plain: true } if is_null(text) => "there is no value".to_string(),
            Kind::Scalar { text, .. } => quoted(text),
            Kind::List(_) => "a list".to_string(),
            Kind::Map(_) => "a map".to_string(),
        }
    }

    /// Where the value of `path` stands; of a path that is not there, the nearest thing above it.
    pub fn locate(&self, path: &str) -> Place {
        let (mut node, mut place) = (self, self.place);
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (&node.kind, step.strip_suffix(']')) {
                (Kind::List(items), Some(index)) => index
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|item| (item, item.place)),
                (Kind::Map(entries), None) => {
                    entries.iter().find(|(key, _)| key.text == step).map(|(key, value)| {
                        // A whole list or map is best shown by its key.
                        let scalar = matches!(value.kind, Kind::Scalar { .. });
                        (value, if scalar { value.place } else { key.place })
                    })
                }
                _ => None,
            };
            let Some(next) = next else { break };
            (node, place) = (next.0.as_ref(), next.1);
        }
        place
    }
}

/// The texts YAML 1.2 reads as no value.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Reads the one document of `text`. No tree: what is found ends the reading; with a tree, findings
/// (such as a key that is there twice) come beside it.
pub(super) fn read(text: &str) -> (Option<Arc<Node>>, Vec<Finding>) {
    let mut options = granit_parser::Options::default();
    options.flow_nesting_limit = usize::from(MAX_DEPTH);
    options.block_nesting_limit = usize::from(MAX_DEPTH);
    options.disallow_directives = true;
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(syntax(&error, text)),
        };
        if let Err(finding) = step {
            builder.findings.push(finding);
            return (None, builder.findings);
        }
        if builder.findings.len() >= MAX_FINDINGS {
            return (None, builder.findings);
        }
    }
    if builder.root.is_none() {
        builder.findings.push(Finding::new("", None, "the file is empty", EMPTY_WANTED));
    }
    (builder.root, builder.findings)
}

pub(super) const EMPTY_WANTED: &str = "a map that begins with `version: 1`";

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    root: Option<Arc<Node>>,
    findings: Vec<Finding>,
    /// Nodes so far, aliases counted as often as they are used.
    size: u32,
}

/// A list or map whose end has not been seen.
struct Open {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Arc<Node>>),
    Map { entries: Vec<(Key, Arc<Node>)>, key: Pending },
}

/// What stands before the next value of a map.
enum Pending {
    None,
    Key(Key),
    /// A key that was refused: its value is read and forgotten.
    Refused,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Finding> {
        let place = place_of(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                let plain = style == ScalarStyle::Plain;
                let kind = Kind::Scalar { text: text.into_owned(), plain };
                self.put(Arc::new(Node { place, kind, size: 1, depth: 0 }), anchor, 1, place)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                self.open(place, anchor, Content::List(Vec::new()));
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                let content = Content::Map { entries: Vec::new(), key: Pending::None };
                self.open(place, anchor, content);
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    let added = node.size;
                    self.put(node, 0, added, place)
                }
                None => Err(self.finding(
                    place,
                    "the alias names what it stands in",
                    "an anchor that ends before",
                )),
            },
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Finding::new("", Some(place), "a second document", "one document"))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, place: Place, anchor: usize, content: Content) {
        self.stack.push(Open { place: Place { len: 1, ..place }, anchor, content });
    }

    fn close(&mut self) -> Result<(), Finding> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let kind = match open.content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, .. } => Kind::Map(entries),
        };
        let children: Vec<&Arc<Node>> = match &kind {
            Kind::List(items) => items.iter().collect(),
            Kind::Map(entries) => entries.iter().map(|(_, value)| value).collect(),
            Kind::Scalar { .. } => Vec::new(),
        };
        let size = children.iter().fold(1u32, |sum, child| sum.saturating_add(child.size));
        let depth = children.iter().map(|child| child.depth).max().unwrap_or(0).saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(too_deep(open.place));
        }
        // Its children were counted when they were attached.
        let node = Arc::new(Node { place: open.place, kind, size, depth });
        self.put(node, open.anchor, 1, open.place)
    }

    /// Puts a node where the next one belongs: `added` nodes more, at `place`.
    fn put(
        &mut self,
        node: Arc<Node>,
        anchor: usize,
        added: u32,
        place: Place,
    ) -> Result<(), Finding> {
        self.size = self.size.saturating_add(added);
        if self.size > MAX_NODES {
            let wanted = format!("at most {MAX_NODES}, aliases counted as often as they are used");
            return Err(Finding::new("", Some(place), "too many values", wanted));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        let path = if self.wants_key() { self.path() } else { String::new() };
        match self.stack.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key }) => match std::mem::replace(key, Pending::None) {
                Pending::Key(key) => entries.push((key, node)),
                Pending::Refused => {}
                Pending::None => {
                    if entries.len() >= MAX_KEYS {
                        let wanted = format!("at most {MAX_KEYS}");
                        return Err(Finding::new(path, Some(place), "too many keys", wanted));
                    }
                    let (pending, finding) = key_of(&node, entries, &path);
                    *key = pending;
                    self.findings.extend(finding);
                }
            },
        }
        Ok(())
    }

    fn refuse_tag(&mut self, tagged: bool, place: Place) {
        if tagged {
            let finding = self.finding(place, "a YAML tag (`!…`)", "a value without a tag");
            self.findings.push(finding);
        }
    }

    fn finding(&self, place: Place, problem: &str, wanted: &str) -> Finding {
        Finding::new(self.path(), Some(place), problem, wanted)
    }

    fn wants_key(&self) -> bool {
        let content = self.stack.last().map(|open| &open.content);
        matches!(content, Some(Content::Map { key: Pending::None, .. }))
    }

    /// Path of the place that is filled next.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.stack {
            match &open.content {
                Content::List(items) => path = format!("{path}[{}]", items.len()),
                Content::Map { key: Pending::Key(key), .. } => path = join(&path, &key.text),
                Content::Map { .. } => {}
            }
        }
        path
    }
}

/// A map's key out of the node that stands in its place.
fn key_of(node: &Node, entries: &[(Key, Arc<Node>)], path: &str) -> (Pending, Option<Finding>) {
    let Kind::Scalar { text, .. } = &node.kind else {
        let problem = format!("{} as a key", node.noun());
        let finding = Finding::new(path, Some(node.place), problem, "a name as a key");
        return (Pending::Refused, Some(finding));
    };
    if let Some((first, _)) = entries.iter().find(|(key, _)| &key.text == text) {
        let problem = format!("the key is there twice, first in line {}", first.place.line);
        let finding = Finding::new(join(path, text), Some(node.place), problem, "it once");
        return (Pending::Refused, Some(finding));
    }
    (Pending::Key(Key { text: text.clone(), place: node.place }), None)
}

/// `path.key`
pub(super) fn join(path: &str, key: &str) -> String {
    let key: String = key.chars().take(40).flat_map(char::escape_default).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn too_deep(place: Place) -> Finding {
    let wanted = format!("at most {MAX_DEPTH} levels");
    Finding::new("", Some(place), "lists and maps nested too deeply", wanted)
}

fn place_of(span: Span) -> Place {
    let one_line = span.start.line() == span.end.line();
    let len = if one_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    Place::new(span.start.line(), span.start.col() + 1, len)
}

fn syntax(error: &ScanError, text: &str) -> Finding {
    let marker = error.marker();
    let mut place = Place::new(marker.line(), marker.col() + 1, 1);
    use ErrorKind as E;
    let (problem, wanted) = match error.kind() {
        E::RecursionLimitExceeded => return too_deep(place),
        E::TabNotAllowed
        | E::TabInBlockIndentation
        | E::TabAtBlockScalarStart
        | E::TabInIndentation
        | E::TabInPlainScalar => {
            // The parser may name the value before the tab.
            let mut lines = text.lines().enumerate().skip(marker.line().saturating_sub(1));
            let found = lines.find_map(|(line, text)| Some((line, indentation_tab(text)?)));
            if let Some((line, column)) = found {
                place = Place::new(line + 1, column + 1, 1);
            }
            ("a tab".to_string(), "spaces")
        }
        E::UnknownAnchor => ("an alias without its anchor".to_string(), "`&name` above it"),
        E::DirectiveDisallowed => ("a `%` directive".to_string(), "none"),
        E::UnclosedQuotedScalar => ("a quote that is not closed".to_string(), "a closing quote"),
        E::UnclosedFlowCollection { open } => (
            format!("a `{open}` that is not closed"),
            if *open == '[' { "a closing `]`" } else { "a closing `}`" },
        ),
        _ => (format!("not YAML: {}", error.info()), "YAML 1.2"),
    };
    Finding::new("", Some(place), problem, wanted)
}

/// Where a line's indentation has a tab.
fn indentation_tab(line: &str) -> Option<usize> {
    line.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).position(|byte| byte == b'\t')
}
