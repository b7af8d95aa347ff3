//! Tree -> typed values by the schema; what is wrong is noted, and the reading goes on.

use std::cell::RefCell;
use std::sync::Arc;

use super::error::{Finding, MAX_FINDINGS, Place};
use super::scalar::{Scalar, Wrong, did_you_mean, nearest, one_of};
use super::schema::{Absent, Schema};
use super::tree::{Key, Kind, Node, join};

const LIST: &str = "a list (an empty one is `[]`)";

/// Where findings are gathered.
#[derive(Default)]
pub(super) struct Findings(RefCell<Vec<Finding>>);

impl Findings {
    pub fn add(&self, finding: Finding) {
        let mut list = self.0.borrow_mut();
        if list.len() < MAX_FINDINGS {
            list.push(finding);
        }
    }

    pub fn into_vec(self) -> Vec<Finding> {
        self.0.into_inner()
    }

    /// Hopeless: nobody reads more.
    pub fn is_full(&self) -> bool {
        self.0.borrow().len() >= MAX_FINDINGS
    }
}

/// A node with its path.
pub(super) struct Item<'t> {
    pub node: &'t Node,
    pub path: String,
}

/// A map that is being read. A method that gives none has noted a finding.
pub(super) struct Section<'t> {
    entries: &'t [(Key, Arc<Node>)],
    place: Place,
    path: String,
    schema: &'static Schema,
    findings: &'t Findings,
}

impl<'t> Section<'t> {
    /// Opens a map and notes its unknown keys.
    pub fn open(
        item: Item<'t>,
        schema: &'static Schema,
        findings: &'t Findings,
    ) -> Option<Section<'t>> {
        let Item { node, path } = item;
        let Kind::Map(entries) = &node.kind else {
            let keys: Vec<&str> = schema.fields.iter().map(|field| field.key).collect();
            let wanted = format!("a map with the keys {}", keys.join(", "));
            findings.add(Finding::new(path, Some(node.place), node.noun(), wanted));
            return None;
        };
        let section = Section { entries, place: node.place, path, schema, findings };
        section.refuse_unknown();
        Some(section)
    }

    fn refuse_unknown(&self) {
        for (key, _) in self.entries {
            if self.schema.field(&key.text).is_some() {
                continue;
            }
            let known: Vec<&str> = self.schema.fields.iter().map(|field| field.key).collect();
            let hint = if key.text == "<<" {
                Some("merge keys are not read: use an alias for a whole map, or repeat it".into())
            } else {
                did_you_mean(&key.text, &known)
            };
            let path = join(&self.path, &key.text);
            let finding = Finding::new(path, Some(key.place), "unknown key", one_of(&known));
            self.findings.add(finding.with_hint(hint));
        }
    }

    /// Path of a key.
    pub fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Was it written?
    pub fn has(&self, key: &str) -> bool {
        self.node(key).is_some()
    }

    fn node(&self, key: &str) -> Option<&'t Node> {
        debug_assert!(self.schema.field(key).is_some(), "`{key}` is in no schema");
        self.entries.iter().find(|(entry, _)| entry.text == key).map(|(_, node)| node.as_ref())
    }

    /// Notes a problem of a key's value.
    pub fn refuse(&self, key: &str, problem: impl Into<String>, wanted: impl Into<String>) {
        let place = self.node(key).map_or(self.place, |node| node.place);
        self.findings.add(Finding::new(self.path(key), Some(place), problem, wanted));
    }

    /// Notes a problem of what stands somewhere in a key's list or map: `[2].name`.
    pub fn refuse_below(&self, key: &str, below: &str, problem: String, wanted: &str) {
        let place = self.node(key).map_or(self.place, |node| node.locate(below));
        let path = format!("{}{below}", self.path(key));
        self.findings.add(Finding::new(path, Some(place), problem, wanted));
    }

    /// A value that must be there, or has a default.
    pub fn get<T>(&self, key: &str, read: impl Fn(Scalar<'_>) -> Result<T, Wrong>) -> Option<T> {
        let absent = self.schema.field(key).map(|field| field.absent);
        match (self.node(key), absent) {
            (Some(node), _) => self.scalar(key, node, read),
            (None, Some(Absent::Is(text))) => {
                let scalar = Scalar { text, plain: true };
                read(scalar).map_err(|wrong| self.note(key, self.place, wrong)).ok()
            }
            (None, _) => {
                // Any reader says what it wants when it is given nothing.
                let nothing = read(Scalar { text: "", plain: true });
                self.miss(key, nothing.err().map_or_else(String::new, |wrong| wrong.wanted));
                None
            }
        }
    }

    /// A value that need not be there.
    pub fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(Scalar<'_>) -> Result<T, Wrong>,
    ) -> Option<Option<T>> {
        match self.node(key) {
            Some(node) => self.scalar(key, node, read).map(Some),
            None => Some(None),
        }
    }

    fn scalar<T>(
        &self,
        key: &str,
        node: &Node,
        read: impl Fn(Scalar<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        read_scalar(node, read).map_err(|wrong| self.note(key, node.place, wrong)).ok()
    }

    fn note(&self, key: &str, place: Place, wrong: Wrong) {
        let Wrong { problem, wanted, hint } = wrong;
        let finding = Finding::new(self.path(key), Some(place), problem, wanted);
        self.findings.add(finding.with_hint(hint));
    }

    fn miss(&self, key: &str, wanted: String) {
        // A key that is only misspelt has been told already.
        let known: Vec<&str> = self.schema.fields.iter().map(|field| field.key).collect();
        let mut others = self.entries.iter().filter(|(entry, _)| !known.contains(&&*entry.text));
        if others.any(|(entry, _)| nearest(&entry.text, &known) == Some(key)) {
            return;
        }
        self.findings.add(Finding::new(self.path(key), Some(self.place), "it is missing", wanted));
    }

    /// The items of a list; none when it was not written.
    pub fn list(&self, key: &str) -> Option<Option<Vec<Item<'t>>>> {
        let Some(node) = self.node(key) else { return Some(None) };
        let Kind::List(items) = &node.kind else {
            self.refuse(key, node.noun(), LIST);
            return None;
        };
        let path = self.path(key);
        let item = |(place, node): (usize, &'t Arc<Node>)| Item {
            node: node.as_ref(),
            path: format!("{path}[{place}]"),
        };
        Some(Some(items.iter().enumerate().map(item).collect()))
    }

    /// Each map of a list read by `read`; a list that was not written is empty or, when the schema
    /// says so, missing.
    pub fn maps<T>(
        &self,
        key: &str,
        schema: &'static Schema,
        read: impl Fn(&Section<'t>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let absent = self.schema.field(key).map(|field| field.absent);
        let Some(items) = self.list(key)? else {
            if absent == Some(Absent::Refused) {
                self.miss(key, LIST.to_string());
                return None;
            }
            return Some(Vec::new());
        };
        let (mut values, mut whole) = (Vec::with_capacity(items.len()), true);
        for item in items {
            if self.findings.is_full() {
                return None;
            }
            let section = Section::open(item, schema, self.findings);
            match section.and_then(|section| read(&section)) {
                Some(value) => values.push(value),
                None => whole = false,
            }
        }
        whole.then_some(values)
    }

    /// The maps of a list have names of their own, and there are no more than `most`; none: more.
    pub fn own_names(&self, key: &str, most: usize, names: &[&str]) -> Option<()> {
        if names.len() > most {
            self.refuse(key, format!("there are {}", names.len()), format!("at most {most}"));
            return None;
        }
        for (place, name) in names.iter().enumerate() {
            if let Some(first) = names.iter().take(place).position(|other| other == name) {
                let problem = format!("`{name}` is {key}[{first}] already");
                self.refuse_below(key, &format!("[{place}].name"), problem, "a name of its own");
            }
        }
        Some(())
    }

    /// Each scalar of a list; none when the list was not written.
    pub fn scalars<T>(
        &self,
        key: &str,
        read: impl Fn(Scalar<'_>) -> Result<T, Wrong>,
    ) -> Option<Option<Vec<T>>> {
        let Some(items) = self.list(key)? else { return Some(None) };
        let (mut values, mut whole) = (Vec::with_capacity(items.len()), true);
        for Item { node, path } in items {
            match read_scalar(node, &read) {
                Ok(value) => values.push(value),
                Err(Wrong { problem, wanted, hint }) => {
                    let finding = Finding::new(path, Some(node.place), problem, wanted);
                    self.findings.add(finding.with_hint(hint));
                    whole = false;
                }
            }
        }
        whole.then_some(Some(values))
    }

    /// A map in this map; one that was not written is empty, so that its defaults count.
    pub fn section(&self, key: &str, schema: &'static Schema) -> Option<Section<'t>> {
        let path = self.path(key);
        match self.node(key) {
            Some(node) => Section::open(Item { node, path }, schema, self.findings),
            None => {
                let findings = self.findings;
                Some(Section { entries: &[], place: self.place, path, schema, findings })
            }
        }
    }
}

fn read_scalar<T>(node: &Node, read: impl Fn(Scalar<'_>) -> Result<T, Wrong>) -> Result<T, Wrong> {
    match &node.kind {
        Kind::Scalar { text, plain } => read(Scalar { text, plain: *plain }),
        // Any reader says what it wants when it is given nothing.
        _ => read(Scalar { text: "", plain: true })
            .map_err(|wrong| Wrong { problem: node.noun(), ..wrong }),
    }
}
