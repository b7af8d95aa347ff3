//! Getting the XDP program onto its interface, over a crash, and off it.
//!
//! The link is pinned on a bpffs, so that program and maps outlive the process. A new start finds the
//! pin, and lets its own program replace the old one when its rules are in: until then the old one
//! drops what is ours, since its sockets are gone.

use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::ProgramError;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;

use super::detach::detach_pinned;
use super::error::chain;
use super::modes;
use super::netlink::Link;
use super::program::{InterfaceProgram, steer_program};
use super::{OpenError, SteerError, XdpMode};

/// Where a program's link is pinned, and what is on the interface now.
pub(super) struct Attachment {
    directory: PathBuf,
    mode: XdpMode,
    state: State,
}

enum State {
    /// Nothing of ours.
    Nothing,
    /// This process's program; it holds the link.
    Ours,
    /// The program of an earlier run.
    Predecessor(XdpLink),
    /// The program of an earlier run, in the XDP mode that is not wanted any more.
    OtherMode(FdLink),
}

impl Attachment {
    pub fn new(directory: PathBuf, mode: XdpMode) -> Attachment {
        Attachment { directory, mode, state: State::Nothing }
    }

    /// Where the counters are pinned.
    pub fn counters(&self) -> PathBuf {
        self.directory.join("counters")
    }

    fn link(&self) -> PathBuf {
        self.directory.join("link")
    }
}

/// After a refusal: removes what was pinned for a program that never ran. What belongs to the link
/// of an earlier run stays for the next.
pub(super) fn forget_unlinked(directory: &Path) {
    let pins = Attachment::new(directory.to_path_buf(), XdpMode::Auto);
    if !pins.link().exists() {
        let _ = fs::remove_file(pins.counters());
        let _ = fs::remove_dir(directory);
    }
}

impl InterfaceProgram {
    /// Attaches, unless the program of an earlier run is there: that one stays until
    /// [`activate`](Self::activate).
    pub fn attach_or_wait(&mut self, link: &Link) -> Result<(), OpenError> {
        let pin = self.attachment.link();
        let Some(attached) = link.xdp else {
            // A pin without a program: the interface was removed and made anew since.
            let _ = fs::remove_file(&pin);
            return self.attach();
        };
        let pinned = PinnedLink::from_pin(&pin).ok().map(FdLink::from);
        let other = OpenError::OtherProgram { interface: self.name.clone(), id: attached.id };
        let Some(pinned) = pinned else {
            return Err(other);
        };
        if !pinned.info().is_ok_and(|info| info.program_id() == attached.id) {
            return Err(other);
        }
        let wanted_generic = match self.attachment.mode {
            XdpMode::Auto => attached.generic,
            XdpMode::Native => false,
            XdpMode::Generic => true,
        };
        self.generic = wanted_generic;
        if wanted_generic != attached.generic {
            self.notes.push(format!(
                "{}: the XDP program of the run before is in the other mode; when it is replaced, \
                 VIP traffic of a moment goes to the kernel",
                self.name
            ));
            self.attachment.state = State::OtherMode(pinned);
            return Ok(());
        }
        let link = XdpLink::try_from(pinned).map_err(|_| other)?;
        self.attachment.state = State::Predecessor(link);
        Ok(())
    }

    /// Attaches, and pins the link.
    fn attach(&mut self) -> Result<(), OpenError> {
        let program = steer_program(&mut self.ebpf)
            .map_err(|error| OpenError::loading(&self.name, "finding it", &error))?;
        let attached = modes::attach(program, &self.name, self.index, self.attachment.mode)?;
        self.generic = attached.generic;
        self.notes.extend(attached.notes);
        let pinned = attached
            .link
            .pin(self.attachment.link())
            .map_err(|error| self.kernel_error("pinning its link", chain(&error)))?;
        // Giving the link to the program is an update to itself, and leaves one way to hold it.
        let held = XdpLink::try_from(FdLink::from(pinned))
            .map_err(|error| chain(&error))
            .and_then(|link| self.hold(link).map_err(|error| chain(&error)));
        held.map_err(|problem| {
            let _ = fs::remove_file(self.attachment.link());
            self.kernel_error("holding its link", problem).into()
        })
    }

    fn hold(&mut self, link: XdpLink) -> Result<(), ProgramError> {
        steer_program(&mut self.ebpf)?.attach_to_link(link)?;
        self.attachment.state = State::Ours;
        Ok(())
    }

    /// Puts the program, with what is in its maps, in the place of the earlier run's, without a
    /// moment in between. Does nothing where there was none.
    pub fn activate(&mut self) -> Result<(), SteerError> {
        match std::mem::replace(&mut self.attachment.state, State::Nothing) {
            State::Predecessor(link) => self
                .hold(link)
                .map_err(|error| self.kernel_error("taking over its link", chain(&error))),
            State::OtherMode(link) => {
                // The kernel has no program in both modes at once: the old one goes first. If that
                // fails, attaching says so.
                let _ = detach_pinned(&self.attachment.link());
                drop(link);
                self.attach().map_err(|error| {
                    self.kernel_error("attaching it in the other mode", chain(&error))
                })
            }
            // An earlier call failed half-way.
            State::Nothing => self
                .attach()
                .map_err(|error| self.kernel_error("attaching it once more", chain(&error))),
            State::Ours => {
                self.attachment.state = State::Ours;
                Ok(())
            }
        }
    }

    /// Was it attached by this process? Then a failed start has to remove it.
    pub fn is_new(&self) -> bool {
        matches!(self.attachment.state, State::Ours)
    }

    /// Takes the program off the interface.
    pub fn detach(self) {
        // Fails when somebody removed the pin or the interface: then it is detached, or will be when
        // the link's last descriptor closes, below.
        let _ = detach_pinned(&self.attachment.link());
        let _ = fs::remove_file(self.attachment.counters());
        let _ = fs::remove_dir(&self.attachment.directory);
        drop(self);
    }
}
