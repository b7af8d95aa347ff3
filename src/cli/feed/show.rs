//! Who is connected to the feed: a table on a terminal, a line of JSON for each event elsewhere.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::cli::ask::is_coloured;
use crate::cli::table::{Aligned, bad, doubtful, good, plain};
use crate::source::grpc::peer::Served;
use crate::source::grpc::{Board, Event, PeerView};
use crate::source::moment::now_unix_ms;
use crate::source::yaml::ConfigError;

const DRAW_EVERY: Duration = Duration::from_secs(1);
/// Refused services that are shown of a balancer.
const MOST_REFUSED: usize = 5;

/// Shows what happens.
pub struct Shower {
    is_terminal: bool,
    revision: AtomicU64,
    services: AtomicUsize,
}

impl Shower {
    pub fn new() -> Shower {
        let is_terminal = std::io::stdout().is_terminal();
        Shower { is_terminal, revision: AtomicU64::new(0), services: AtomicUsize::new(0) }
    }

    /// It begins.
    pub fn serving(&self, address: SocketAddr, served: &Served) {
        self.note(served);
        if self.is_terminal {
            println!("serving {} services on {address}", served.resources.len());
            return;
        }
        let (revision, services) = (served.revision, served.resources.len());
        line(&json!({ "event": "serving", "address": address, "revision": revision,
            "services": services }));
    }

    /// What is served is another.
    pub fn changed(&self, served: &Served) {
        self.note(served);
        if !self.is_terminal {
            let (revision, services) = (served.revision, served.resources.len());
            line(&json!({ "event": "changed", "revision": revision, "services": services }));
        }
    }

    /// The file is not fine: what was served before still is.
    pub fn refused(&self, error: &ConfigError) {
        if self.is_terminal {
            eprintln!("the file is refused, what was served still is:\n{error}");
        } else {
            line(&json!({ "event": "file_refused", "error": error.to_string() }));
        }
    }

    /// Something has happened with a balancer.
    pub fn happened(&self, event: Event, view: &PeerView) {
        if self.is_terminal {
            return;
        }
        let mut told = serde_json::to_value(view).unwrap_or_default();
        if let Value::Object(map) = &mut told {
            map.insert("event".to_string(), json!(event));
            map.insert("at_unix_ms".to_string(), json!(now_unix_ms()));
            if event != Event::Progress {
                map.remove("services");
            }
        }
        line(&told);
    }

    /// Draws the table now and then; for ever.
    pub async fn redraw(&self, board: &Board) {
        let mut before = String::new();
        loop {
            sleep(DRAW_EVERY).await;
            if !self.is_terminal {
                continue;
            }
            let now = table(&board.peers(), now_unix_ms(), is_coloured());
            let (revision, services) =
                (self.revision.load(Ordering::Relaxed), self.services.load(Ordering::Relaxed));
            let now = format!("\nrevision {revision}, {services} services\n{now}");
            if now != before {
                print!("{now}");
                let _ = std::io::stdout().flush();
                before = now;
            }
        }
    }

    fn note(&self, served: &Served) {
        self.revision.store(served.revision, Ordering::Relaxed);
        self.services.store(served.resources.len(), Ordering::Relaxed);
    }
}

fn line(value: &Value) {
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more: the feed goes on.
    let _ = writeln!(out, "{value}");
}

/// The balancers, a line each, and what they refuse.
fn table(peers: &[PeerView], now_unix_ms: u64, coloured: bool) -> String {
    let mut table = Aligned::new(coloured, "node|address|#revision|state|#lag ms|#up|#down|#flows");
    for view in peers {
        let backends = || view.services.values().flat_map(|service| &service.backends);
        let count = |health: &str| backends().filter(|backend| backend.health == health).count();
        let lag = view.behind_unix_ms.map(|since| now_unix_ms.saturating_sub(since));
        let state = match (&view.refused_update, &view.held, view.refused.len(), lag) {
            (Some(_), ..) => bad("refused"),
            (_, Some(_), ..) => doubtful("held"),
            (_, _, 0, None) => good("has all"),
            (_, _, 0, Some(_)) => doubtful("behind"),
            (_, _, refused, _) => bad(format!("{refused} refused")),
        };
        let address = view.address.map(|address| address.to_string()).unwrap_or_default();
        table.row(vec![
            plain(&view.node),
            plain(address),
            plain(view.revision),
            state,
            plain(lag.unwrap_or(0)),
            plain(count("up")),
            plain(count("down")),
            plain(backends().map(|backend| backend.flows).sum::<u64>()),
        ]);
    }
    let mut text = table.text();
    for view in peers {
        let why = view.refused_update.iter().chain(&view.held);
        let refused = view.refused.values().flatten().take(MOST_REFUSED);
        for line in why.chain(refused) {
            // What others say is not to move a cursor.
            let line = line.replace(char::is_control, " ");
            text += &format!("{}: {line}\n", view.node);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_line_for_each_balancer() {
        let view = PeerView {
            node: "lb1".to_string(),
            address: Some("10.0.0.1:5000".parse().unwrap()),
            version: "0.1.0".to_string(),
            connected_unix_ms: 1,
            revision: 7,
            served_revision: 7,
            behind_unix_ms: None,
            refused: BTreeMap::new(),
            refused_update: None,
            held: None,
            services: BTreeMap::new(),
        };
        let problems = vec!["services[web].port: 0 is not a port".to_string()];
        let refused = BTreeMap::from([("web".to_string(), problems)]);
        let other = PeerView { node: "lb2".to_string(), refused, ..view.clone() };
        let late = PeerView { behind_unix_ms: Some(400), revision: 6, ..view.clone() };
        let text = table(&[view, other, late], 1_000, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("has all"), "{text}");
        assert!(lines[2].contains("1 refused"), "{text}");
        assert!(lines[3].contains("behind") && lines[3].contains("600"), "{text}");
        assert_eq!(lines[4], "lb2: services[web].port: 0 is not a port");
    }
}
