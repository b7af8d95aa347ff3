//! What `open` refuses, each by its type and with advice in its words.

use guideway::io::afxdp::{OpenError, OpenOptions, STEER_OBJECT, XdpMode, ZeroCopy, open};

use super::lab::{Lab, may_run};

/// Opens what `change` makes of the usual options, within the balancer; gives type and words.
fn refused(lab: &Lab, change: impl FnOnce(&mut OpenOptions)) -> OpenError {
    let mut options = lab.options(1, 1);
    change(&mut options);
    match lab.within("b", move || open(&options).map(|opened| opened.steer.detach())) {
        Err(error) => error,
        Ok(()) => panic!("this has to be refused"),
    }
}

macro_rules! assert_refusal {
    ($error:expr, $kind:pat, $($word:literal),+) => {{
        let error = $error;
        let text = error.to_string();
        assert!(matches!(error, $kind), "{error:?}");
        $(assert!(text.contains($word), "no `{}` in: {text}", $word);)+
    }};
}

#[test]
fn what_cannot_be_opened_says_what_to_do() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("refuse", 1, 1);
    assert_refusal!(
        refused(&lab, |options| options.interfaces[0].name = "nothing".to_string()),
        OpenError::NoSuchInterface { .. },
        "no interface `nothing`",
        "`ip link`"
    );
    assert_refusal!(refused(&lab, |options| options.workers = 0), OpenError::Options(_), "worker");
    assert_refusal!(
        refused(&lab, |options| options.workers = 2),
        OpenError::Options(_),
        "worker 1 has no queue",
        "ethtool -L"
    );
    assert_refusal!(
        refused(&lab, |options| options.frame_bytes = 1500),
        OpenError::Options(_),
        "2048 or 4096"
    );
    assert_refusal!(
        refused(&lab, |options| options.interfaces[0].zero_copy = ZeroCopy::Required),
        OpenError::ZeroCopy { .. },
        "zero_copy: auto"
    );
    assert_refusal!(
        refused(&lab, |options| options.bpf_dir = "/proc/guideway".into()),
        OpenError::BpfDirectory { .. },
        "bpffs"
    );
    lab.ip("b", "link set left mtu 1800");
    assert_refusal!(
        refused(&lab, |_| {}),
        OpenError::Mtu { mtu: 1800, fits: 1770, .. },
        "ip link set left mtu 1770"
    );
    lab.ip("b", "link set left mtu 1500");
    lab.ip("b", "link set lo mtu 1500");
    assert_refusal!(
        refused(&lab, |options| {
            options.interfaces[0].name = "lo".to_string();
            options.interfaces[0].mode = XdpMode::Native;
        }),
        OpenError::NoXdp { .. },
        "no native XDP"
    );
}

#[test]
fn a_large_mtu_of_the_peer_means_generic_mode_or_refusal() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("mtu", 1, 1);
    lab.ip("c", "link set c0 mtu 3600");
    assert_refusal!(
        refused(&lab, |options| options.interfaces[0].mode = XdpMode::Native),
        OpenError::NoXdp { .. },
        "3498",
        "lower the MTU"
    );
    let options = lab.options(1, 1);
    let opened = lab.within("b", move || open(&options)).unwrap();
    assert_eq!(opened.steer.modes()[0].1, "generic");
    assert!(opened.notes.iter().any(|note| note.contains("3498")), "{:?}", opened.notes);
    opened.steer.detach();
}

#[test]
fn a_program_of_somebody_else_is_named() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("other", 1, 1);
    let (mut ebpf, id) = lab.within("b", || {
        let mut ebpf = aya::Ebpf::load(STEER_OBJECT).unwrap();
        let program: &mut aya::programs::Xdp =
            ebpf.program_mut("steer").unwrap().try_into().unwrap();
        program.load().unwrap();
        program.attach("left", aya::programs::XdpMode::Skb).unwrap();
        let id = program.info().unwrap().id();
        (ebpf, id)
    });
    let error = refused(&lab, |_| {});
    assert!(matches!(error, OpenError::OtherProgram { id: named, .. } if named == id), "{error}");
    assert!(error.to_string().contains("ip link set dev left xdp off"), "{error}");
    let program: &mut aya::programs::Xdp = ebpf.program_mut("steer").unwrap().try_into().unwrap();
    program.unload().unwrap();
    // Detached when the last descriptor is gone, which a fork of another test may have a little.
    let detached = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        !super::output(&format!("ip -n {} link show left", lab.name("b"))).contains("prog/xdp")
    });
    assert!(detached);
    let options = lab.options(1, 1);
    lab.within("b", move || open(&options)).unwrap().steer.detach();
}

#[test]
fn more_queues_than_sockets_are_refused() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("queues", 65, 1);
    assert_refusal!(
        refused(&lab, |_| {}),
        OpenError::TooManyQueues { queues: 65, .. },
        "ethtool -L left combined 64"
    );
}

#[test]
fn without_capabilities_it_says_which_are_needed() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("caps", 1, 1);
    let options = lab.options(1, 1);
    let error = lab.within("b", move || {
        // This thread alone gives up all it may.
        let none = rustix::thread::CapabilitySets {
            effective: rustix::thread::CapabilitySet::empty(),
            permitted: rustix::thread::CapabilitySet::empty(),
            inheritable: rustix::thread::CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, none).unwrap();
        open(&options).map(|opened| opened.steer.detach()).unwrap_err()
    });
    assert_refusal!(error, OpenError::Permission { .. }, "run as root", "CAP_NET_ADMIN");
}
