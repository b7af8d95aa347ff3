//! The directory on a bpffs where the XDP program's link outlives the process.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FsWord, statfs};
use rustix::mount::{MountFlags, mount};

use super::OpenError;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: FsWord = 0xcafe_4a11;
/// Where the kernel wants the bpffs of the machine; a directory of sysfs, in which none can be made.
const USUAL_MOUNT: &str = "/sys/fs/bpf";

/// Makes `bpf_dir`, mounting a bpffs if there is none under it.
///
/// A mount made in a mount namespace of its own (`ip netns exec` makes one) is gone with it.
///
/// # Errors
/// Says which step failed.
pub fn prepare(bpf_dir: &Path) -> Result<(), OpenError> {
    let mount_point = match bpf_dir.strip_prefix(USUAL_MOUNT) {
        Ok(_) => Path::new(USUAL_MOUNT),
        Err(_) => bpf_dir,
    };
    if !has_bpffs(bpf_dir) {
        if mount_point == bpf_dir {
            make_directory(bpf_dir)?;
        }
        mount("bpf", mount_point, "bpf", MountFlags::empty(), None).map_err(|error| {
            let source = io::Error::from(error);
            let path = mount_point.to_path_buf();
            match error {
                rustix::io::Errno::PERM | rustix::io::Errno::ACCESS => {
                    OpenError::Permission { action: format!("mount a bpffs at {}", path.display()) }
                }
                _ => OpenError::BpfDirectory { action: "mount a bpffs at", path, source },
            }
        })?;
    }
    make_directory(bpf_dir)
}

/// Is there a bpffs at or over this directory already?
pub fn has_bpffs(bpf_dir: &Path) -> bool {
    is_bpffs(nearest_existing(bpf_dir))
}

/// The place of one interface's program. Names are those of a network namespace, so its inode is
/// part of it. A bpffs allows no dots.
///
/// # Errors
/// When the namespace cannot be told or the directory not made.
pub fn interface_directory(bpf_dir: &Path, interface: &str) -> Result<PathBuf, OpenError> {
    let namespace = Path::new("/proc/thread-self/ns/net");
    let inode = fs::metadata(namespace).map_err(|source| OpenError::BpfDirectory {
        action: "read the network namespace from",
        path: namespace.to_path_buf(),
        source,
    })?;
    let path = bpf_dir.join(format!("{}-{}", inode.ino(), interface.replace('.', "%")));
    make_directory(&path)?;
    Ok(path)
}

fn make_directory(path: &Path) -> Result<(), OpenError> {
    fs::create_dir_all(path).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            OpenError::Permission { action: format!("make the directory {}", path.display()) }
        }
        _ => OpenError::BpfDirectory { action: "make", path: path.to_path_buf(), source },
    })
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|facts| facts.f_type == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_existing_directory_is_found() {
        assert_eq!(nearest_existing(Path::new("/proc/none/such")), Path::new("/proc"));
        assert!(!is_bpffs(Path::new("/proc")));
    }
}
