//! `guideway explain`: what happens to a packet, and why.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::ask::{AskArgs, ask, print};
use crate::admin::proto::ExplainRequest;
use crate::wire::Protocol;

/// Say which service and backend a packet gets, why, and what would be if a backend left.
#[derive(clap::Args, Debug)]
pub struct ExplainArgs {
    /// The client: 192.0.2.7:40000, or [2001:db8::7]:40000.
    #[arg(long, value_name = "ADDRESS:PORT")]
    from: SocketAddr,
    /// The VIP and its port.
    #[arg(long, value_name = "VIP:PORT")]
    to: SocketAddr,
    /// Transport: tcp, udp or sctp.
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp", value_parser = protocol)]
    proto: Protocol,
    /// Also say what would be if this backend left.
    #[arg(long, value_name = "BACKEND")]
    without: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let found = all.into_iter().find(|known| known.to_string() == text);
    found.ok_or_else(|| "expected tcp, udp or sctp".to_string())
}

/// Asks and prints.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let request = ExplainRequest {
        client: args.from.ip().to_string(),
        client_port: args.from.port().into(),
        vip: args.to.ip().to_string(),
        vip_port: args.to.port().into(),
        protocol: args.proto.to_string(),
        without: args.without.clone().unwrap_or_default(),
    };
    ask("explain", &args.ask, |mut admin| async move {
        let told = admin.explain(request).await?.into_inner();
        print(&args.ask.output.text(&told, || told.lines.join("\n") + "\n")?)
    })
}
