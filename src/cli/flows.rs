//! `guideway flows`: the live flows of a running Guideway; `guideway kill-flows`: ends some.

use std::process::ExitCode;

use super::ask::{AskArgs, ask, is_coloured, print};
use super::table::{Aligned, doubtful, good, plain};
use crate::admin::proto::{EndFlowsRequest, Flow, FlowFilter, ListFlowsRequest};

/// Show the live flows of a running Guideway.
#[derive(clap::Args, Debug)]
pub struct FlowsArgs {
    #[command(flatten)]
    which: Which,
    /// Most flows to show; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u64,
    #[command(flatten)]
    ask: AskArgs,
}

/// End flows of a running Guideway: the next packet of a connection is answered as that of one that is
/// not known.
#[derive(clap::Args, Debug)]
pub struct KillFlowsArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    ask: AskArgs,
}

/// Which flows: all that is said has to hold.
#[derive(clap::Args, Debug)]
struct Which {
    /// Those of this client: an address, or a network such as 192.0.2.0/24.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// Those of this service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Those to backends of this name.
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
}

impl Which {
    fn filter(&self) -> FlowFilter {
        let text = |given: &Option<String>| given.clone().unwrap_or_default();
        FlowFilter {
            client: text(&self.client),
            service: text(&self.service),
            backend: text(&self.backend),
        }
    }
}

/// Asks and prints.
pub fn run(args: &FlowsArgs) -> ExitCode {
    let request = ListFlowsRequest { filter: Some(args.which.filter()), limit: args.limit };
    ask("flows", &args.ask, |mut admin| async move {
        let mut parts = admin.list_flows(request).await?.into_inner();
        let (mut flows, mut is_cut_short) = (Vec::new(), false);
        while let Some(part) = parts.message().await? {
            flows.extend(part.flows);
            is_cut_short |= part.is_cut_short;
        }
        let text = args.ask.output.text(&flows, || table(&flows, is_cut_short, is_coloured()));
        print(&text?)
    })
}

/// Asks and says how many were ended.
pub fn kill(args: &KillFlowsArgs) -> ExitCode {
    let request = EndFlowsRequest { filter: Some(args.which.filter()) };
    ask("kill-flows", &args.ask, |mut admin| async move {
        let ended = admin.end_flows(request).await?.into_inner().ended;
        let for_people = || format!("{ended} {} ended\n", flows_word(ended));
        print(&args.ask.output.text(&serde_json::json!({ "ended": ended }), for_people)?)
    })
}

fn flows_word(count: u64) -> &'static str {
    if count == 1 { "flow" } else { "flows" }
}

fn table(flows: &[Flow], is_cut_short: bool, coloured: bool) -> String {
    let header =
        "protocol|client|vip|service|backend|backend's address|by SNAT|state|#idle|#worker";
    let is_counted = flows.iter().any(|flow| flow.moved.is_some());
    let more = if is_counted { "|#age|#packets in|#bytes in|#packets out|#bytes out" } else { "" };
    let mut table = Aligned::new(coloured, &format!("{header}{more}"));
    for flow in flows {
        let state = match flow.state.as_str() {
            "established" | "udp" => good(&flow.state),
            _ => doubtful(&flow.state),
        };
        let mut row = vec![
            plain(&flow.protocol),
            plain(socket(&flow.client, flow.client_port)),
            plain(socket(&flow.vip, flow.vip_port)),
            plain(named(&flow.service)),
            plain(named(&flow.backend)),
            plain(socket(&flow.backend_address, flow.backend_port)),
            plain(socket(&flow.snat_address, flow.snat_port)),
            state,
            plain(idle(flow.idle_ms)),
            plain(flow.worker),
        ];
        if let Some(moved) = &flow.moved {
            row.extend([
                plain(idle(moved.age_ms)),
                plain(moved.packets_in),
                plain(moved.bytes_in),
                plain(moved.packets_out),
                plain(moved.bytes_out),
            ]);
        }
        table.row(row);
    }
    let count = flows.len() as u64;
    let more = if is_cut_short { ", and there are more: see --limit" } else { "" };
    format!("{}{count} {}{more}\n", table.text(), flows_word(count))
}

fn named(name: &str) -> &str {
    if name.is_empty() { "(gone)" } else { name }
}

/// An address and its port; a dash where there is none.
fn socket(address: &str, port: u32) -> String {
    match (address.is_empty(), address.contains(':')) {
        (true, _) => "-".to_string(),
        (false, true) => format!("[{address}]:{port}"),
        (false, false) => format!("{address}:{port}"),
    }
}

fn idle(idle_ms: u64) -> String {
    match idle_ms {
        0..10_000 => format!("{}.{} s", idle_ms / 1000, idle_ms % 1000 / 100),
        10_000..600_000 => format!("{} s", idle_ms / 1000),
        _ => format!("{} min", idle_ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::proto::Moved;

    #[test]
    fn flows_look_like_this() {
        let nat = Flow {
            client: "192.0.2.7".into(),
            client_port: 40000,
            vip: "198.51.100.1".into(),
            vip_port: 80,
            protocol: "tcp".into(),
            service: "web".into(),
            backend: "b1".into(),
            backend_address: "10.0.0.11".into(),
            backend_port: 8080,
            snat_address: "10.0.0.2".into(),
            snat_port: 1024,
            state: "established".into(),
            idle_ms: 1250,
            worker: 1,
            moved: None,
        };
        let gone = Flow {
            client: "2001:db8::7".into(),
            vip: "2001:db8::1".into(),
            state: "closing".into(),
            idle_ms: 700_000,
            service: String::new(),
            backend: String::new(),
            backend_address: String::new(),
            snat_address: String::new(),
            ..nat.clone()
        };
        let text = table(&[nat.clone(), gone], true, false);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("protocol  client "), "{text}");
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "tcp 192.0.2.7:40000 198.51.100.1:80 web b1 10.0.0.11:8080 10.0.0.2:1024 established 1.2 s 1"
        );
        assert_eq!(
            lines[2].split_whitespace().collect::<Vec<_>>().join(" "),
            "tcp [2001:db8::7]:40000 [2001:db8::1]:80 (gone) (gone) - - closing 11 min 1"
        );
        assert_eq!(lines[3], "2 flows, and there are more: see --limit");
        let moved = Moved { age_ms: 61_000, packets_in: 7, bytes_in: 700, ..Moved::default() };
        let counted = Flow { moved: Some(moved), ..nat };
        let text = table(&[counted], false, false);
        let row = text.lines().nth(1).unwrap_or_default();
        let cells: Vec<_> = row.split_whitespace().skip(11).collect();
        assert_eq!(cells.join(" "), "61 s 7 700 0 0", "{text}");
    }
}
