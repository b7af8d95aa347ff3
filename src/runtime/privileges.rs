//! What threads may do once all is set up. Capabilities belong to threads (capabilities(7)): each one
//! gives up its own, and those it starts later have what it has left.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// What the control thread and its helpers go on to need: neighbours, interfaces and multicast groups
/// (`NET_ADMIN`), ICMP health checks (`NET_RAW`), tables of the XDP programs (`BPF`).
pub const CONTROL: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW).union(CapabilitySet::BPF);

/// Packets go over sockets that are open already.
pub const WORKER: CapabilitySet = CapabilitySet::empty();

/// Gives up for good what this thread may do beyond `needed`. What it never had it does not get.
///
/// # Errors
/// What the kernel says; then it may as much as before.
pub fn keep_only(needed: CapabilitySet) -> Result<(), Errno> {
    set_no_new_privs(true)?;
    let have = capabilities(None)?;
    // The bounding set is for programs that are started, of which there are none; to shrink it takes
    // a capability, too.
    if have.effective.contains(CapabilitySet::SETPCAP) {
        for capability in each() {
            if !needed.contains(capability) {
                // One that this kernel does not know is none that we have.
                let _ = remove_capability_from_bounding_set(capability);
            }
        }
    }
    let left = have.permitted & needed;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: left, permitted: left, inheritable: none };
    set_capabilities(None, sets)
}

/// Each capability there is, by itself.
fn each() -> impl Iterator<Item = CapabilitySet> {
    let last = CapabilitySet::CHECKPOINT_RESTORE.bits().trailing_zeros();
    (0..=last).map(|bit| CapabilitySet::from_bits_retain(1 << bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_up_its_own_and_no_other_ones() {
        let before = capabilities(None).unwrap().permitted;
        let thread = std::thread::spawn(|| {
            keep_only(CONTROL).unwrap();
            let kept = capabilities(None).unwrap();
            keep_only(WORKER).unwrap();
            (kept, capabilities(None).unwrap())
        });
        let (control, worker) = thread.join().unwrap();
        assert_eq!(control.permitted, before & CONTROL);
        assert_eq!(control.effective, control.permitted);
        assert_eq!((worker.permitted, worker.effective), (WORKER, WORKER));
        assert_eq!(capabilities(None).unwrap().permitted, before, "this thread is as it was");
    }
}
