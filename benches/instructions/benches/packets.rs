//! The rows. A new one is a line with its name and what it is of; then `make instructions-accept`.

use guideway_instructions::{DSCP, Direction, Family, GUE, IPIP, Mode, PACKETS, Ready};
use gungraun::{library_benchmark, library_benchmark_group, main};

use Direction::{Back, Forward, New, Ports};
use Family::{V4, V6};
use Mode::{Dnat, L2dsr, Nat};

// What a function is given and gives back is made and dropped outside the count.

#[library_benchmark(setup = Ready::new)]
#[bench::l2dsr_forward_v4(L2dsr, Forward, V4)]
#[bench::l2dsr_forward_v6(L2dsr, Forward, V6)]
#[bench::nat_forward_v4(Nat, Forward, V4)]
#[bench::nat_forward_v6(Nat, Forward, V6)]
#[bench::nat_ports_v4(Nat, Ports, V4)]
#[bench::nat_back_v4(Nat, Back, V4)]
#[bench::nat_back_v6(Nat, Back, V6)]
#[bench::dnat_forward_v4(Dnat, Forward, V4)]
#[bench::dnat_back_v4(Dnat, Back, V4)]
#[bench::dscp_forward_v4(DSCP, Forward, V4)]
#[bench::dscp_forward_v6(DSCP, Forward, V6)]
#[bench::ipip_forward_v4(IPIP, Forward, V4)]
#[bench::gue_forward_v6(GUE, Forward, V6)]
#[bench::l2dsr_new_v4(L2dsr, New, V4)]
#[bench::l2dsr_new_v6(L2dsr, New, V6)]
#[bench::nat_new_v4(Nat, New, V4)]
#[bench::nat_new_v6(Nat, New, V6)]
fn pass(mut ready: Ready) -> Ready {
    assert_eq!(ready.pass(), PACKETS, "a packet was not forwarded");
    ready
}

#[library_benchmark(setup = Ready::new)]
#[bench::parse_v4(L2dsr, Forward, V4)]
#[bench::parse_v6(L2dsr, Forward, V6)]
fn parse(ready: Ready) -> Ready {
    assert_eq!(ready.parse(), PACKETS, "a packet could not be read");
    ready
}

library_benchmark_group!(name = packets, benchmarks = [pass, parse]);
main!(library_benchmark_groups = packets);
