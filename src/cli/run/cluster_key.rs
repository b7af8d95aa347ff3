//! The cluster key: read from its file, or made once and kept.

use std::fs;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use siphasher::sip::SipHasher13;

use super::replace_file::write_private;
use crate::control::NodeSpec;
use crate::forwarding::ClusterKey;

/// The key this node uses, and the file it stands in. Without a configured file a random key is
/// made in the state directory, once; to let another node join, copy that file there.
///
/// # Errors
/// A file that cannot be read or written, or does not hold 32 hex digits.
pub fn load(node: &NodeSpec) -> anyhow::Result<(ClusterKey, PathBuf)> {
    if let Some(file) = &node.cluster_key_file {
        return Ok((read(file)?, file.clone()));
    }
    let file = node.state_dir.join("cluster.key");
    match read(&file) {
        Ok(key) => Ok((key, file)),
        Err(error) if is_not_found(&error) => Ok((make(&file)?, file)),
        Err(error) => Err(error),
    }
}

/// A short name for a key, to compare nodes by without showing the key.
pub fn fingerprint(key: &ClusterKey) -> String {
    let mut hasher = SipHasher13::new_with_key(&key.0);
    hasher.write(b"guideway cluster key fingerprint");
    format!("{:016x}", hasher.finish())
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::NotFound)
}

fn read(file: &Path) -> anyhow::Result<ClusterKey> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("the cluster key cannot be read from {}", file.display()))?;
    parse(text.trim()).with_context(|| {
        let wanted = "32 hex digits (make one with: openssl rand -hex 16)";
        format!("{} does not hold a cluster key: wanted {wanted}", file.display())
    })
}

fn parse(text: &str) -> anyhow::Result<ClusterKey> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("it has {} characters, or some that are no hex digits", text.len());
    }
    Ok(ClusterKey(u128::from_str_radix(text, 16)?.to_be_bytes()))
}

/// Makes a key and writes it so that a crash or a full disk leaves no half of it.
fn make(file: &Path) -> anyhow::Result<ClusterKey> {
    let key = ClusterKey(rand::random());
    let write = || -> io::Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        write_private(file, format!("{:032x}\n", u128::from_be_bytes(key.0)).as_bytes())
    };
    write().map_err(|error| {
        let path = file.display();
        let advice = "make room there, set `state_dir`, or set `cluster_key_file`";
        anyhow::Error::new(error).context(format!("no cluster key can be kept in {path}: {advice}"))
    })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("deep/cluster.key");
        let key = make(&file).unwrap();
        assert_eq!(read(&file).unwrap(), key);
        assert_eq!(fingerprint(&key).len(), 16);
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused() {
        for text in
            ["", "12", "zz000000000000000000000000000000", "+0000000000000000000000000000000"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
