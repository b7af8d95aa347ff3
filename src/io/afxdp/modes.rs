//! Attaching a loaded program in one of the two XDP modes, by trying. What the steer and the decap
//! program have in common on their way onto an interface.

use aya::programs::links::FdLink;
use aya::programs::{Xdp, XdpMode as AyaMode};

use super::error::{chain, os_error};
use super::{OpenError, XdpMode};

/// A program on its interface. Dropping the link takes it off, unless it is pinned.
pub(super) struct Attached {
    pub link: FdLink,
    /// Runs in the stack, not in the driver.
    pub generic: bool,
    /// Why it is not what was wished for.
    pub notes: Vec<String>,
}

/// Why attaching did not work.
enum Refusal {
    /// This mode does not work.
    Mode(String),
    /// No mode will.
    Fatal(OpenError),
}

/// Attaches in the driver or, where that fails and it is allowed, in the stack.
pub(super) fn attach(
    program: &mut Xdp,
    interface: &str,
    index: u32,
    mode: XdpMode,
) -> Result<Attached, OpenError> {
    let modes: &[bool] = match mode {
        XdpMode::Auto => &[false, true],
        XdpMode::Native => &[false],
        XdpMode::Generic => &[true],
    };
    let mut reasons = Vec::new();
    for &generic in modes {
        match attach_in(program, interface, index, generic) {
            Ok(link) => return Ok(Attached { link, generic, notes: reasons }),
            Err(Refusal::Fatal(error)) => return Err(error),
            Err(Refusal::Mode(reason)) => reasons.push(reason),
        }
    }
    Err(OpenError::NoXdp { interface: interface.to_string(), reason: reasons.join("; ") })
}

fn attach_in(
    program: &mut Xdp,
    interface: &str,
    index: u32,
    generic: bool,
) -> Result<FdLink, Refusal> {
    let mode = if generic { AyaMode::Skb } else { AyaMode::Driver };
    let linked = program.attach_to_if_index(index, mode).and_then(|id| program.take_link(id));
    match linked.map(FdLink::try_from) {
        Ok(Ok(link)) => Ok(link),
        Ok(Err(error)) => Err(Refusal::Mode(refusal(interface, generic, &error))),
        Err(error) if os_error(&error) == Some(libc::EPERM) => {
            let action = format!("attach an XDP program to {interface}");
            Err(Refusal::Fatal(OpenError::Permission { action }))
        }
        Err(error) => Err(Refusal::Mode(refusal(interface, generic, &error))),
    }
}

fn refusal(name: &str, generic: bool, error: &(dyn std::error::Error + 'static)) -> String {
    let mode = if generic { "generic" } else { "native" };
    match os_error(error) {
        Some(libc::EOPNOTSUPP) => format!("{name}: the driver has no {mode} XDP"),
        Some(libc::ERANGE) if !generic => format!(
            "{name}: native XDP refuses the MTU of the interface or of its veth peer (a veth \
             takes 3498 at most for a program without multi-buffer): lower the MTU"
        ),
        Some(libc::EINVAL | libc::ENOSPC) if !generic => format!(
            "{name}: the driver refuses native XDP as the interface is set up (a veth needs as \
             many receive queues as its peer has transmit queues; other drivers no LRO): {}",
            chain(error)
        ),
        _ => format!("{name}: {mode} XDP is refused: {}", chain(error)),
    }
}
