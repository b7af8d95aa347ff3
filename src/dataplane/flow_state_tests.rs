use super::FlowState::{Affinity, Closed, Closing, Established, Opening, Reset, Udp};
use super::Side::{Backend, Client};
use super::*;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = SYN | ACK;
const FIN: u8 = 0x01 | ACK;
const RST: u8 = 0x04;

/// A flow's first segment from the client, then segments with the state wanted after each.
type Row = (&'static str, u8, FlowState, &'static [(Side, u8, FlowState)]);

fn run(nat: bool, rows: &[Row]) {
    for &(description, first, wanted, segments) in rows {
        let step_one = first_step(Some(TcpFlags(first)));
        assert_eq!(step_one.state, wanted, "{description}");
        let both_ways = if nat { BOTH_WAYS } else { 0 };
        let (mut state, mut flow_flags) = (step_one.state, step_one.flags | both_ways);
        for (place, &(side, flags, wanted)) in segments.iter().enumerate() {
            let next = step(flow_flags, state, side, TcpFlags(flags));
            assert_eq!(next.state, wanted, "{description}: segment {place}");
            (state, flow_flags) = (next.state, next.flags);
        }
    }
}

#[test]
fn connections_under_nat() {
    run(
        true,
        &[
            (
                "backend closes first",
                SYN,
                Opening,
                &[
                    (Backend, SYN_ACK, Opening),
                    (Client, ACK, Established),
                    (Backend, ACK, Established),
                    (Backend, FIN, Closing),
                    (Client, ACK, Closing),
                    (Client, FIN, Closing),
                    (Backend, ACK, Closed),
                    (Client, FIN, Closed),
                    (Backend, RST, Closed),
                ],
            ),
            (
                "client closes first and half the way goes on",
                SYN,
                Opening,
                &[
                    (Backend, SYN_ACK, Opening),
                    (Client, ACK, Established),
                    (Client, FIN, Closing),
                    (Backend, ACK, Closing),
                    (Client, ACK, Closing),
                    (Backend, FIN, Closing),
                    (Backend, FIN, Closing),
                    (Client, ACK, Closed),
                ],
            ),
            (
                "forged SYN: the SYN-ACK alone establishes nothing, nor does an early ACK",
                SYN,
                Opening,
                &[(Client, ACK, Opening), (Backend, SYN_ACK, Opening), (Client, SYN, Opening)],
            ),
            (
                "the client's ACK is overtaken by the backend's first data",
                SYN,
                Opening,
                &[(Backend, ACK, Established), (Backend, SYN_ACK, Established)],
            ),
            (
                "refused: the client tries again by a new flow",
                SYN,
                Opening,
                &[(Backend, RST | ACK, Reset), (Backend, RST | ACK, Reset)],
            ),
            (
                "forged reset on a live connection: the next segment brings it back",
                SYN,
                Opening,
                &[
                    (Backend, SYN_ACK, Opening),
                    (Client, ACK, Established),
                    (Client, RST, Reset),
                    (Backend, ACK, Established),
                    (Client, SYN, Established),
                ],
            ),
            (
                "forged reset while opening",
                SYN,
                Opening,
                &[(Client, RST, Reset), (Backend, SYN_ACK, Opening), (Client, ACK, Established)],
            ),
            (
                "reset while closing",
                SYN,
                Opening,
                &[(Client, FIN, Closing), (Backend, RST, Reset), (Client, ACK, Closing)],
            ),
        ],
    );
}

#[test]
fn connections_under_dsr() {
    run(
        false,
        &[
            (
                "only the client's half is seen",
                SYN,
                Opening,
                &[
                    (Client, SYN, Opening),
                    (Client, ACK, Established),
                    (Client, FIN, Closing),
                    (Client, ACK, Closing),
                ],
            ),
            ("begun before a restart", ACK, Opening, &[(Client, ACK, Established)]),
            ("a FIN after a restart", FIN, Closing, &[(Client, ACK, Closing)]),
            ("a reset after a restart", RST, Reset, &[(Client, RST, Reset)]),
        ],
    );
}

#[test]
fn udp_has_one_state() {
    assert_eq!(first_step(None).state, Udp);
    assert_eq!(step(0, Udp, Backend, TcpFlags(0xff)).state, Udp);
}

#[test]
fn states_are_their_numbers() {
    for state in 0..=u8::MAX {
        let found = FlowState::of(&FlowEntry { state, ..FlowEntry::FREE });
        assert_eq!(found.map(|found| found as u8), (1..=7).contains(&state).then_some(state));
    }
}

#[test]
fn idle_times() {
    let timeouts = FlowTimeouts {
        tcp_opening_ms: 1,
        tcp_established_ms: 2,
        tcp_closing_ms: 30_000,
        tcp_reset_ms: 240_000,
        udp_ms: 4,
        affinity_ms: 5,
    };
    let rows = [
        (Opening, 1),
        (Established, 2),
        (Closing, 30_000),
        (Closed, 10_000),
        (Reset, 240_000),
        (Udp, 4),
        (Affinity, 5),
    ];
    for (state, wanted) in rows {
        assert_eq!(state.timeout_ms(&timeouts), wanted, "{state:?}");
    }
    let short = FlowTimeouts { tcp_closing_ms: 7, ..timeouts };
    assert_eq!(Closed.timeout_ms(&short), 7);
}
