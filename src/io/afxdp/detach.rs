//! Detaching a pinned link at once.
//!
//! A link goes away with its last reference, and a process that forks at this moment in another
//! thread has one for a while: the next start would find the program still there. The kernel can
//! be told to detach whoever holds it; aya does not offer that.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// Commands of linux/bpf.h.
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;

/// The part of `union bpf_attr` for `BPF_OBJ_GET`.
#[repr(C)]
struct ObjGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Takes the program of the link pinned at `pin` off its interface and removes the pin.
pub(super) fn detach_pinned(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = ObjGet { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the kernel reads `size_of::<ObjGet>()` bytes of `get`, and the path it points to.
    let fd = unsafe { bpf(BPF_OBJ_GET, (&raw const get).cast(), size_of::<ObjGet>()) }?;
    // SAFETY: the call gave a new descriptor, owned by nobody else.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let number = link.as_raw_fd() as u32;
    // SAFETY: the attributes of this command are the descriptor's number.
    let detached = unsafe { bpf(BPF_LINK_DETACH, (&raw const number).cast(), size_of::<u32>()) };
    std::fs::remove_file(pin)?;
    detached.map(drop)
}

/// The bpf system call.
///
/// # Safety
/// `attributes` points to `size` bytes that are the command's attributes.
unsafe fn bpf(
    command: libc::c_long,
    attributes: *const libc::c_void,
    size: usize,
) -> io::Result<i32> {
    // SAFETY: by this function's contract.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
