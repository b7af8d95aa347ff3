//! The JSON Schema against the keys, the reference file, and what the readers take.

use jsonschema::Validator;
use serde_json::Value;

use super::super::json_schema::{json_schema, plain_value};
use super::super::scalar::one_of;
use super::super::shapes::{SHAPES, Shape, shape_of};
use super::*;

fn validator(is_part: bool) -> Validator {
    let options = jsonschema::options().should_validate_formats(true);
    options.build(&json_schema(is_part)).unwrap()
}

/// A file as a reader of YAML 1.2 gives it to whoever validates it.
fn value_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Scalar { text, plain } => {
            plain_value(text).filter(|_| *plain).unwrap_or_else(|| text.as_str().into())
        }
        Kind::List(items) => items.iter().map(|item| value_of(item)).collect(),
        Kind::Map(entries) => {
            let entries = entries.iter().map(|(key, node)| (key.text.clone(), value_of(node)));
            Value::Object(entries.collect())
        }
    }
}

fn read_value(text: &str) -> Value {
    value_of(&tree::read(text).0.unwrap())
}

fn problems(validator: &Validator, text: &str) -> Vec<String> {
    let value = read_value(text);
    let told = validator.iter_errors(&value);
    told.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn each_key_has_a_shape_and_each_shape_a_key() {
    let keys = ALL
        .iter()
        .flat_map(|schema| schema.fields.iter().map(|field| join(schema.path, field.key)));
    let keys: Vec<String> = keys.collect();
    let shapes: Vec<&str> = SHAPES.iter().map(|(path, _)| *path).collect();
    assert_eq!(keys, shapes, "shapes.rs is in the order of schema.rs");
}

#[test]
fn each_key_of_the_reference_file_is_in_the_schema_with_what_it_says() {
    let schema = json_schema(false);
    for (path, _) in SHAPES {
        let mut at = &schema;
        for step in path.split('.') {
            at = &at["properties"][step.trim_end_matches("[]")];
            assert!(at["description"].as_str().is_some_and(|text| text.len() > 10), "{path}: {at}");
            at = if step.ends_with("[]") { &at["items"] } else { at };
        }
    }
    assert_eq!(schema["properties"]["limits"]["properties"]["backends"]["default"], 65_536);
    assert_eq!(schema["properties"]["workers"]["properties"]["idle"]["default"], "auto");
}

#[test]
fn good_files_are_valid() {
    let whole = validator(false);
    assert_eq!(problems(&whole, REFERENCE), Vec::<String>::new());
    assert_eq!(problems(&whole, SMALL), Vec::<String>::new());
    let part = "version: 1\nservices: []\nsnat: [{ address: \"2001:db8::1\", ports: 1024-2047 }]\n";
    assert_eq!(problems(&validator(true), part), Vec::<String>::new());
    assert_ne!(problems(&whole, part), Vec::<String>::new(), "a part is no whole file");
}

/// Description, what of the small file is replaced, and by what.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("unknown key", "name: eth1", "nam: eth1"),
    ("a key too many", "port: 80", "port: 80\n    prot: 81"),
    ("missing", "    address: 10.1.0.100\n", ""),
    ("another version", "version: 1", "version: 2"),
    ("no address", "10.2.0.11", "10.2.0.300"),
    ("a port too high", "port: 80", "port: 65536"),
    ("no port", "port: 80", "port: http"),
    ("an unknown word", "{ type: tcp }", "{ type: ftp }"),
    ("no unit", "{ type: tcp }", "{ type: tcp, interval: 2 }"),
    ("a strange unit", "{ type: tcp }", "{ type: tcp, interval: 2w }"),
    ("units in disorder", "{ type: tcp }", "{ type: tcp, interval: 2s1m }"),
    ("not a boolean", "name: b1,", "name: b1, drain: yes,"),
    ("a large name", "name: web", "name: Web"),
    ("no interface", "interfaces:\n  - name: eth1", "interfaces: []"),
    ("not a list", "interfaces:\n  - name: eth1", "interfaces: eth1"),
    ("not a map", "{ type: tcp }", "tcp"),
    ("a path from nowhere", "version: 1", "version: 1\nstate_dir: var"),
    ("not a network", "version: 1", "version: 1\ntunnel_sources: [10.1.0.0]"),
];

#[test]
fn what_the_schema_refuses_the_reader_refuses_too() {
    let validator = validator(false);
    for (description, from, to) in MISTAKES {
        let text = SMALL.replace(from, to);
        assert_ne!(text, SMALL, "{description}");
        assert_ne!(problems(&validator, &text), Vec::<String>::new(), "{description}");
        assert!(parse("f", &text).is_err(), "{description}");
    }
}

/// The reader is asked what it wants, by a value that is nothing: words and numbers in its answer are
/// those of the shape.
#[test]
fn readers_want_what_the_schema_says() {
    let (tree, _) = tree::read(REFERENCE);
    let tree = tree.unwrap();
    let mut asked = 0;
    for (path, shape) in SHAPES {
        let (above, key) = path.rsplit_once('.').unwrap_or(("", path));
        let line = line_of(&tree, above, key).unwrap();
        let Some(text) = with_nothing(line, key) else { continue };
        let error = parse("f", &text).expect_err(path);
        let problem = error.problems.iter().find(|problem| problem.line == Some(line));
        let wanted = &problem.unwrap_or_else(|| panic!("{path}: {error}")).wanted;
        match shape_of(path).unwrap_or(*shape) {
            Shape::Words(words) => assert_eq!(*wanted, one_of(words), "{path}"),
            Shape::Boolean => assert_eq!(*wanted, one_of(&["true", "false"]), "{path}"),
            Shape::Number(1, 1) => assert_eq!(wanted, "`1`", "{path}"),
            Shape::Number(least, most) => {
                let numbers: Vec<u64> =
                    wanted.split(' ').filter_map(|word| word.parse().ok()).collect();
                let [first, .., last] = numbers[..] else { panic!("{path}: {wanted}") };
                // What validation refuses besides, the schema may refuse, too.
                assert!(first <= least && most <= last, "{path}: {wanted}");
            }
            shape => {
                let words: &[&str] = match shape {
                    Shape::Duration => &["a duration"],
                    Shape::Address => &["IPv4 or IPv6 address"],
                    Shape::Network => &["IPv4 or IPv6 network"],
                    Shape::Mac => &["MAC address"],
                    Shape::Path => &["begins with `/`"],
                    Shape::Range => &["range such as"],
                    Shape::Ports => &["number from"],
                    Shape::Percent => &["percentage"],
                    Shape::Statuses => &["statuses"],
                    Shape::Mss => &["`auto`", "`off`"],
                    Shape::Socket => &["an address and a port"],
                    Shape::Url => &["`https://HOST:PORT`"],
                    Shape::Interface => &["1 to 15 bytes"],
                    Shape::Text | Shape::Name => &["text"],
                    _ => &[""],
                };
                assert!(words.iter().all(|word| wanted.contains(word)), "{path}: {wanted}");
            }
        }
        asked += 1;
    }
    assert!(asked > 80, "only {asked} keys could be asked about");
}

/// The reference file with no value behind the key of a line; none where a list or map stands there, or
/// several keys.
fn with_nothing(line: u32, key: &str) -> Option<String> {
    let mut lines: Vec<String> = REFERENCE.lines().map(str::to_string).collect();
    let found = lines.get_mut(line as usize - 1)?;
    let (before, value) = found.split_once(&format!("{key}:"))?;
    let is_single = !value.trim().is_empty() && !value.contains(['{', '[', ',', '&']);
    let is_first = before.trim_start_matches([' ', '-']).is_empty();
    let text = format!("{before}{key}:");
    if !is_single || !is_first {
        return None;
    }
    *found = text;
    Some(lines.join("\n") + "\n")
}
