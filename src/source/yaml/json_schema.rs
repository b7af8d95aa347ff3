//! The JSON Schema of a configuration, for editors: which keys there are, what their values look like,
//! and what the reference file says of them.

use serde_json::{Map, Value, json};

use super::schema::{Absent, PART, ROOT, Schema};
use super::shapes::{Shape, shape_of};
use super::tree::{self, Kind, Node};

/// The reference file: every key with a sensible value, and what there is to say of it.
pub const REFERENCE: &str = include_str!("../../../config/guideway.yaml");

/// The schema of a whole file or, with `is_part`, of a file beside the main one in a folder.
pub fn json_schema(is_part: bool) -> Value {
    let (tree, _) = tree::read(REFERENCE);
    let writer = Writer { reference: tree.as_deref(), lines: REFERENCE.lines().collect() };
    let (root, title) = match is_part {
        true => (&PART, "A file beside guideway.yaml in a folder of Guideway's configuration"),
        false => (&ROOT, "Guideway's configuration"),
    };
    let mut schema = writer.map(root, "");
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".into(), title.into());
    Value::Object(schema)
}

struct Writer<'r> {
    reference: Option<&'r Node>,
    lines: Vec<&'r str>,
}

impl Writer<'_> {
    fn map(&self, of: &Schema, path: &str) -> Map<String, Value> {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in of.fields {
            let at =
                if path.is_empty() { field.key.into() } else { format!("{path}.{}", field.key) };
            let Some(shape) = shape_of(&at) else { continue };
            let mut value = self.value(shape, &at);
            if let Some(text) = self.comment_of(&at) {
                value.insert("description".into(), text.into());
            }
            match field.absent {
                Absent::Refused => required.push(field.key),
                Absent::Is(text) => _ = value.insert("default".into(), plain(shape, text)),
                Absent::Means(_) => {}
            }
            properties.insert(field.key.into(), Value::Object(value));
        }
        let mut map = Map::new();
        map.insert("type".into(), "object".into());
        map.insert("additionalProperties".into(), false.into());
        map.insert("required".into(), json!(required));
        map.insert("properties".into(), Value::Object(properties));
        map
    }

    fn value(&self, shape: Shape, path: &str) -> Map<String, Value> {
        let value = match shape {
            Shape::Map(of) => return self.map(of, path),
            Shape::Maps(of) => {
                let items = self.map(of, &format!("{path}[]"));
                let least = usize::from(path == "interfaces");
                json!({ "type": "array", "items": items, "minItems": least })
            }
            Shape::List(shape) => json!({ "type": "array", "items": self.value(*shape, path) }),
            Shape::Number(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Words(words) => {
                let words: Vec<Value> = words.iter().map(|word| plain(shape, word)).collect();
                json!({ "enum": words })
            }
            Shape::Address => {
                json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
            }
            Shape::Percent => text_or_number(r"^([0-9]|[1-9][0-9]|100) ?%$", 0, 100),
            Shape::Range => text_or_number("^[0-9]{1,5} *- *[0-9]{1,5}$", 0, 65_535),
            Shape::Ports => text_or_number("^([0-9]{1,5} *- *[0-9]{1,5}|all)$", 1, 65_535),
            Shape::Statuses => text_or_number("^[0-9, -]+$", 100, 999),
            Shape::Mss => text_or_number("^(auto|off)$", 536, 65_495),
            Shape::Text => json!({ "type": "string", "minLength": 1 }),
            Shape::Duration => matching(r"^(?=.)(\d+d)?(\d+h)?(\d+m(?!s))?(\d+s)?(\d+ms)?$"),
            Shape::Name => matching("^[a-z0-9._-]{1,128}$"),
            Shape::Interface => matching(r"^[^\s/:]{1,15}$"),
            Shape::Network => matching(r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$"),
            Shape::Mac => matching("^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"),
            Shape::Path => matching("^/"),
            Shape::Socket => matching(r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$"),
            Shape::Url => matching("^https?://.+"),
            Shape::BackendOfService => matching("^[^/]+/.+$"),
        };
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// What the reference file says of a key: the comment above the first place where it stands.
    fn comment_of(&self, path: &str) -> Option<String> {
        let (above, key) = path.rsplit_once('.').unwrap_or(("", path));
        let line = line_of(self.reference?, above, key)?;
        let comment = comment_above(&self.lines, line);
        (!comment.is_empty()).then_some(comment)
    }
}

fn matching(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn text_or_number(pattern: &str, least: u64, most: u64) -> Value {
    json!({ "type": ["string", "integer"], "pattern": pattern, "minimum": least, "maximum": most })
}

/// A value as it stands in a file without quotes.
fn plain(shape: Shape, text: &str) -> Value {
    let is_text = matches!(shape, Shape::Text | Shape::Path | Shape::Name);
    plain_value(text).filter(|_| !is_text).unwrap_or_else(|| text.into())
}

/// What YAML makes of a plain scalar that is no text.
pub(super) fn plain_value(text: &str) -> Option<Value> {
    match text {
        "true" | "false" => Some((text == "true").into()),
        _ => text.parse::<u64>().ok().map(Value::from),
    }
}

/// The comment lines right above a line, as one text.
pub(super) fn comment_above(lines: &[&str], line: u32) -> String {
    let before = lines.get(..(line as usize).saturating_sub(1)).unwrap_or_default();
    let comment = before.iter().rev().take_while(|line| line.trim_start().starts_with('#'));
    let words: Vec<&str> = comment.map(|line| line.trim_start().trim_start_matches('#')).collect();
    let words: Vec<&str> = words.iter().rev().flat_map(|line| line.split_whitespace()).collect();
    words.join(" ")
}

/// The line of the first `path.key` in a file, where `[]` is any item of a list.
pub(super) fn line_of(tree: &Node, path: &str, key: &str) -> Option<u32> {
    fn walk(node: &Node, steps: &[&str], key: &str) -> Option<u32> {
        match (&node.kind, steps.split_first()) {
            (Kind::Map(entries), None) => entries
                .iter()
                .find(|(entry, _)| entry.text == key)
                .map(|(entry, _)| entry.place.line),
            (Kind::Map(entries), Some((step, rest))) => {
                let (_, value) = entries.iter().find(|(entry, _)| entry.text == *step)?;
                walk(value, rest, key)
            }
            (Kind::List(items), Some((&"[]", rest))) => {
                items.iter().find_map(|item| walk(item, rest, key))
            }
            _ => None,
        }
    }
    let path = path.replace("[]", ".[]");
    let steps: Vec<&str> = path.split('.').filter(|step| !step.is_empty()).collect();
    walk(tree, &steps, key)
}
