//! Why an interface cannot be taken, each with what to do about it.

use std::io;
use std::path::PathBuf;

/// Opening interfaces failed; nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options make no sense together.
    #[error("{0}")]
    Options(String),
    /// No interface of that name in this network namespace.
    #[error(
        "there is no interface `{interface}` in this network namespace: \
         `ip link` lists those there are"
    )]
    NoSuchInterface {
        /// Its name.
        interface: String,
    },
    /// The kernel would not tell about an interface.
    #[error("cannot ask the kernel about interface `{interface}`: {source}")]
    Query {
        /// Its name.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not permitted.
    #[error(
        "no permission to {action}: run as root, or with CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, \
         CAP_PERFMON and, for mounting a bpffs, CAP_SYS_ADMIN (on kernels before 5.11 also raise \
         `ulimit -l`)"
    )]
    Permission {
        /// What was tried.
        action: String,
    },
    /// More receive queues than the steer program has sockets for.
    #[error(
        "interface `{interface}` has {queues} receive queues, at most 64 can be taken: \
         `ethtool -L {interface} combined 64`"
    )]
    TooManyQueues {
        /// Its name.
        interface: String,
        /// How many it has.
        queues: u32,
    },
    /// The NIC spreads packets to a queue that no worker has.
    #[error(
        "the RSS table of `{interface}` names receive queue {queue}, but only queues below \
         {queues} have a socket, so its frames would be lost: `ethtool -X {interface} equal {queues}`"
    )]
    RssQueue {
        /// Its name.
        interface: String,
        /// The queue without socket.
        queue: u32,
        /// Queues there are.
        queues: u32,
    },
    /// A frame of that MTU does not fit a chunk.
    #[error(
        "the MTU of `{interface}` is {mtu}, but a chunk of {frame_bytes} bytes holds frames of an \
         MTU of {fits} at most: `ip link set {interface} mtu {fits}`, or `limits.frame_bytes: \
         4096` if that is enough (MTU 3818)"
    )]
    Mtu {
        /// Its name.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// The largest that fits.
        fits: u32,
        /// Configured size of a chunk.
        frame_bytes: u32,
    },
    /// Somebody else's XDP program is there.
    #[error(
        "interface `{interface}` already has the XDP program with id {id}, which another \
         program put there (`bpftool prog show id {id}` tells which): remove it with \
         `ip link set dev {interface} xdp off`, or, where that is refused, stop what holds its \
         link (`bpftool link` lists links, `bpftool link detach id N` ends one)"
    )]
    OtherProgram {
        /// Its name.
        interface: String,
        /// The program's id.
        id: u32,
    },
    /// No XDP there, in no mode that was allowed.
    #[error("interface `{interface}` takes no XDP program: {reason}")]
    NoXdp {
        /// Its name.
        interface: String,
        /// What was tried, and the advice.
        reason: String,
    },
    /// Zero copy was required.
    #[error(
        "zero copy is required on `{interface}`, but {reason}: set `zero_copy: auto` for copy mode"
    )]
    ZeroCopy {
        /// Its name.
        interface: String,
        /// Why not.
        reason: String,
    },
    /// A queue stays busy.
    #[error(
        "receive queue {queue} of `{interface}` is held by another AF_XDP socket: is another \
         Guideway running on it? `ss --xdp` lists such sockets"
    )]
    QueueBusy {
        /// Its name.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// A socket could not be made or bound.
    #[error("cannot open an AF_XDP socket on queue {queue} of `{interface}`: {source}{advice}")]
    Socket {
        /// Interface.
        interface: String,
        /// Queue.
        queue: u32,
        /// What the kernel said.
        source: io::Error,
        /// What to do, where known.
        advice: &'static str,
    },
    /// The memory for frames could not be had.
    #[error(
        "cannot get {bytes} bytes of memory for frames: {source}; lower `limits.frames_per_queue`"
    )]
    Memory {
        /// Bytes asked for.
        bytes: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The directory for pinned programs.
    #[error(
        "cannot {action} `{}`: {source}; `bpf_dir` has to be a directory on a bpffs, or one that \
         can be made: `mount -t bpf bpf /sys/fs/bpf`", path.display()
    )]
    BpfDirectory {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Loading the program or using its maps failed.
    #[error(transparent)]
    Steer(#[from] SteerError),
}

impl OpenError {
    /// Loading a program or finding its parts failed.
    pub(super) fn loading(
        interface: &str,
        action: &'static str,
        error: &(dyn std::error::Error + 'static),
    ) -> OpenError {
        match os_error(error) {
            Some(libc::EPERM | libc::EACCES) => {
                OpenError::Permission { action: "load an XDP program".to_string() }
            }
            _ => OpenError::Steer(SteerError::Kernel {
                interface: interface.to_string(),
                action,
                problem: chain(error),
            }),
        }
    }
}

/// Changing what the XDP program takes failed.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// Too many ranges.
    #[error(
        "{address} has {ranges} SNAT port ranges, at most 8 of one shared address can be steered: \
         join them"
    )]
    TooManyRanges {
        /// The shared address.
        address: std::net::IpAddr,
        /// How many.
        ranges: usize,
    },
    /// The kernel refused.
    #[error("the XDP program of `{interface}`: {action}: {problem}")]
    Kernel {
        /// Interface.
        interface: String,
        /// What was tried.
        action: &'static str,
        /// What was said.
        problem: String,
    },
}

/// What a bad end of a chain of errors was, as the kernel's number: aya's and xsk-rs' errors wrap
/// it in different depths.
pub(super) fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if let Some(number) = io.and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        next = error.source();
    }
    None
}

/// The whole chain in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source();
    }
    text
}
