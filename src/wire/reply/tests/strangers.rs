//! Nobody is answered who may be more than one host.

use super::*;

#[test]
fn what_may_be_more_than_one_host_gets_no_answer() {
    let rows: [(&str, Edit); 8] = [
        ("to a group MAC", |frame| frame[0] |= 1),
        ("from a group MAC", |frame| frame[6] |= 1),
        ("from no MAC", |frame| frame[6..12].fill(0)),
        ("from 0.1.0.50", |frame| frame[26] = 0),
        ("from loopback", |frame| frame[26] = 127),
        ("from multicast", |frame| frame[26] = 224),
        ("from broadcast", |frame| frame[26..30].fill(255)),
        ("to multicast", |frame| frame[30] = 239),
    ];
    for (what, change) in rows {
        for sample in [s::TCP_SYN, s::UDP_DATA, s::ECHO_REQUEST, s::FRAGMENT_FIRST, s::GRE] {
            let mut frame = bytes(sample);
            change(&mut frame);
            mend_header(&mut frame);
            nobody_answers(&frame, what);
        }
    }
}

#[test]
fn what_may_be_more_than_one_ipv6_host_gets_no_answer() {
    let rows: [(&str, Edit); 11] = [
        ("to a group MAC", |frame| frame[0] |= 1),
        ("from a group MAC", |frame| frame[6] |= 1),
        ("from no MAC", |frame| frame[6..12].fill(0)),
        ("from nobody", |frame| frame[22..38].fill(0)),
        ("from loopback", |frame| {
            frame[22..38].fill(0);
            frame[37] = 1;
        }),
        ("from multicast", |frame| frame[22] = 0xff),
        ("from an IPv4-compatible address", |frame| frame[22..34].fill(0)),
        ("to multicast", |frame| frame[38] = 0xff),
        ("to nobody", |frame| frame[38..54].fill(0)),
        ("to loopback", |frame| {
            frame[38..54].fill(0);
            frame[53] = 1;
        }),
        ("to an IPv4-compatible address", |frame| frame[38..50].fill(0)),
    ];
    for (what, change) in rows {
        for sample in [
            s::TCP_SYN_V6,
            s::UDP_DATA_V6,
            s::ECHO_REQUEST_V6,
            s::FRAGMENT_FIRST_V6,
            s::UDP_V6_OPTIONS,
            s::GRE_V6,
        ] {
            let mut frame = bytes(sample);
            change(&mut frame);
            nobody_answers(&frame, what);
        }
    }
}

#[test]
fn link_local_hosts_are_answered() {
    let mut frame = bytes(s::TCP_SYN_V6);
    frame[22..24].copy_from_slice(&[0xfe, 0x80]);
    is_turned_round(&frame, &answered(&frame, RESET).unwrap());
}
