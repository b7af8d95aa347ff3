//! The feed's interface does not break: `proto/guideway/v1/feed.proto` against the committed set of
//! descriptors. What was added is written into the set with `GUIDEWAY_WRITE_DOCS=1`; a change that old
//! feeds or balancers would not understand is refused then, too.

#![cfg(feature = "program")]

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet};

const SET: &str = "proto/guideway/v1/feed.binpb";
const WRITE: &str = "GUIDEWAY_WRITE_DOCS";

fn compiled() -> FileDescriptorSet {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut set = protox::compile(["guideway/v1/feed.proto"], [root]).unwrap();
    // Where things stand in the file, and what is said of them, is no part of the interface.
    set.file.iter_mut().for_each(|file| file.source_code_info = None);
    set
}

/// Everything that others rely on, by a path of its own: fields by number, methods by name.
fn promises(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    let mut promises = BTreeMap::new();
    for file in &set.file {
        for message in &file.message_type {
            fields(file.package(), message, &mut promises);
        }
        for service in &file.service {
            for method in &service.method {
                let path = format!("{}.{}/{}", file.package(), service.name(), method.name());
                let streams = (method.client_streaming(), method.server_streaming());
                let types = format!("{} -> {}", method.input_type(), method.output_type());
                promises.insert(path, format!("{types} {streams:?}"));
            }
        }
    }
    promises
}

fn fields(of: &str, message: &DescriptorProto, promises: &mut BTreeMap<String, String>) {
    let path = format!("{of}.{}", message.name());
    for field in &message.field {
        let what = format!(
            "{} {:?} {:?} {} {:?}",
            field.name(),
            field.r#type(),
            field.label(),
            field.type_name(),
            field.oneof_index.map(|index| message.oneof_decl[index as usize].name()),
        );
        promises.insert(format!("{path} field {}", field.number()), what);
    }
    message.nested_type.iter().for_each(|nested| fields(&path, nested, promises));
}

/// What was promised and is not kept.
fn broken(before: &FileDescriptorSet, after: &FileDescriptorSet) -> Vec<String> {
    let now = promises(after);
    let changed = |(path, was): (String, String)| match now.get(&path) {
        Some(is) if *is == was => None,
        Some(is) => Some(format!("{path} was `{was}` and is `{is}`")),
        None => Some(format!("{path} was `{was}` and is gone")),
    };
    promises(before).into_iter().filter_map(changed).collect()
}

#[test]
fn nothing_that_was_promised_is_broken() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SET);
    let committed = std::fs::read(&path).unwrap();
    let before = FileDescriptorSet::decode(&*committed).unwrap();
    let after = compiled();
    let broken = broken(&before, &after);
    assert!(broken.is_empty(), "old feeds and balancers rely on it:\n{}", broken.join("\n"));
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, after.encode_to_vec()).unwrap();
        return;
    }
    assert!(before == after, "{SET} lacks something: {WRITE}=1 cargo test --test feed_proto");
}

#[test]
fn what_breaks_is_found() {
    type Change = fn(&mut FileDescriptorSet);
    fn resource(set: &mut FileDescriptorSet) -> &mut DescriptorProto {
        set.file[0].message_type.iter_mut().find(|m| m.name() == "Resource").unwrap()
    }
    let rows: [(&str, Change, usize); 7] = [
        ("nothing", |_| (), 0),
        ("removed", |set| drop(resource(set).field.remove(1)), 1),
        ("renumbered", |set| resource(set).field[1].number = Some(77), 1),
        ("retyped", |set| resource(set).field[1].r#type = Some(5), 1),
        ("renamed", |set| resource(set).field[1].name = Some("other".to_string()), 1),
        ("repeated", |set| resource(set).field[1].label = Some(3), 1),
        ("no service", |set| set.file[0].service.clear(), 1),
    ];
    for (description, change, wanted) in rows {
        let mut changed = compiled();
        change(&mut changed);
        assert_eq!(broken(&compiled(), &changed).len(), wanted, "{description}");
    }
    let mut added = compiled();
    let more = resource(&mut added).field[1].clone();
    resource(&mut added).field.push(prost_types::FieldDescriptorProto { number: Some(77), ..more });
    assert!(broken(&compiled(), &added).is_empty(), "to add is allowed");
}
