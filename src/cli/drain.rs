//! `guideway drain` and `guideway undrain`: takes backends out of service by hand, and back in.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::ask::{AskArgs, Output, ask, is_coloured, print};
use super::moment;
use super::status::render::age;
use super::table::{Aligned, doubtful, good, plain};
use crate::admin::proto::{self, BeginDrainRequest, EndDrainRequest, ListDrainsRequest};
use crate::admin::{Admin, DrainStatus};
use crate::control::Drain;

/// How often it is asked how many flows are left.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Take a backend out of service by hand, whatever the configuration says, or show what is out.
#[derive(clap::Args, Debug)]
pub struct DrainArgs {
    #[command(subcommand)]
    what: DrainWhat,
}

#[derive(clap::Subcommand, Debug)]
enum DrainWhat {
    Backend(BackendArgs),
    List(ListArgs),
}

/// No new flow to a backend from now on; flows that it has go on. It holds over reloads and restarts,
/// until `guideway undrain`, or until its time is over.
#[derive(clap::Args, Debug)]
struct BackendArgs {
    /// The backend's name.
    #[arg(value_name = "BACKEND")]
    backend: String,
    /// Only in this service; else in every one that has a backend of that name, now and later.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// When it ends by itself: a time such as 2026-11-30T06:00:00Z, or so long from now, such as 2h.
    #[arg(long, value_name = "TIME", value_parser = moment::until)]
    until: Option<u64>,
    /// Wait until no flow is left, and show how many there are.
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this; then the exit code is 1, and the backend goes on draining.
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = moment::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    ask: AskArgs,
}

/// Show the backends that are drained by hand.
#[derive(clap::Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    ask: AskArgs,
}

/// Give a backend that was drained by hand new flows again.
#[derive(clap::Args, Debug)]
pub struct UndrainArgs {
    #[command(subcommand)]
    what: UndrainWhat,
}

#[derive(clap::Subcommand, Debug)]
enum UndrainWhat {
    Backend(UndrainBackendArgs),
}

/// End the drains of a backend.
#[derive(clap::Args, Debug)]
struct UndrainBackendArgs {
    /// The backend's name.
    #[arg(value_name = "BACKEND")]
    backend: String,
    /// Only the drain of this service; else all drains of backends of that name.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

/// Begins a drain, and waits if that is wanted, or shows those there are.
pub fn drain(args: &DrainArgs) -> ExitCode {
    match &args.what {
        DrainWhat::Backend(args) => ask("drain", &args.ask, |admin| begin(admin, args)),
        DrainWhat::List(args) => ask("drain", &args.ask, |mut admin| async move {
            let drains = list(&mut admin).await?;
            print(&args.ask.output.text(&drains, || {
                let table = table(&drains, moment::now_unix_ms(), is_coloured());
                if table.is_empty() { "no backend is drained by hand\n".into() } else { table }
            })?)
        }),
    }
}

async fn begin(mut admin: Admin, args: &BackendArgs) -> anyhow::Result<()> {
    let BackendArgs { backend, service, until, .. } = args;
    let request = BeginDrainRequest {
        backend: backend.clone(),
        service: service.clone().unwrap_or_default(),
        until_unix_ms: until.unwrap_or(0),
    };
    admin.begin_drain(request).await?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut told = None;
    loop {
        let all = list(&mut admin).await?;
        let is_it = |d: &&DrainStatus| d.drain.backend == *backend && d.drain.service == *service;
        let Some(now) = all.iter().find(is_it) else {
            anyhow::bail!("the drain of {backend} has ended meanwhile, before its flows");
        };
        let is_done = !args.wait || now.flows == 0;
        if told != Some(now.flows) && args.ask.output == Output::Table {
            print(&line(now))?;
            told = Some(now.flows);
        }
        if is_done {
            return match args.ask.output {
                Output::Table => Ok(()),
                output => print(&output.text(now, String::new)?),
            };
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let left = flows_left(now.flows);
            anyhow::bail!("the time is over, and {backend} still has {left}; it goes on draining");
        }
        sleep(ASK_EVERY).await;
    }
}

/// Ends drains.
pub fn undrain(args: &UndrainArgs) -> ExitCode {
    let UndrainWhat::Backend(args) = &args.what;
    let request = EndDrainRequest {
        backend: args.backend.clone(),
        service: args.service.clone().unwrap_or_default(),
    };
    ask("undrain", &args.ask, |mut admin| async move {
        let ended = admin.end_drain(request).await?.into_inner();
        print(&args.ask.output.text(&ended, || {
            let backend = &args.backend;
            match ended.still_drains_in.as_slice() {
                [] => format!("{backend} gets new flows again\n"),
                services => format!(
                    "{backend} is not drained by hand any more; the configuration of {} still says \
                     that it gets no new flow\n",
                    services.join(", ")
                ),
            }
        })?)
    })
}

async fn list(admin: &mut Admin) -> anyhow::Result<Vec<DrainStatus>> {
    let drains = admin.list_drains(ListDrainsRequest {}).await?.into_inner().drains;
    Ok(drains.into_iter().map(status_of).collect())
}

fn status_of(drain: proto::Drain) -> DrainStatus {
    let named = |name: String| Some(name).filter(|name| !name.is_empty());
    DrainStatus {
        drain: Drain {
            backend: drain.backend,
            service: named(drain.service),
            uid: drain.uid,
            user: named(drain.user),
            since_unix_ms: drain.since_unix_ms,
            until_unix_ms: Some(drain.until_unix_ms).filter(|&until| until > 0),
        },
        services: drain.services,
        flows: drain.flows,
    }
}

fn line(status: &DrainStatus) -> String {
    let DrainStatus { drain, services, flows } = status;
    let (backend, services) = (&drain.backend, services.join(", "));
    let until = drain.until_unix_ms.map(|until| format!(" until {}", moment::shown(until)));
    let until = until.unwrap_or_default();
    format!("{backend} of {services} drains{until}: {} left\n", flows_left(*flows))
}

fn flows_left(count: u64) -> String {
    match count {
        0 => "no flow".to_string(),
        1 => "1 flow".to_string(),
        count => format!("{count} flows"),
    }
}

/// Backends that are drained by hand; no table where there is none.
pub fn table(drains: &[DrainStatus], now_unix_ms: u64, coloured: bool) -> String {
    let mut table = Aligned::new(coloured, "DRAINED|IN|BY|#SINCE|UNTIL|#FLOWS LEFT");
    for DrainStatus { drain, services, flows } in drains {
        let uid = drain.uid.map(|uid| format!("uid {uid}"));
        let until = drain.until_unix_ms.map(moment::shown);
        table.row([
            plain(&drain.backend),
            plain(match &drain.service {
                Some(service) => service.clone(),
                None if services.is_empty() => "all services (none has it)".to_string(),
                None => format!("all services ({})", shortened(services)),
            }),
            plain(drain.user.clone().or(uid).unwrap_or_else(|| "-".to_string())),
            plain(age(now_unix_ms, drain.since_unix_ms)),
            plain(until.unwrap_or_else(|| "undrain".to_string())),
            if *flows == 0 { good(flows) } else { doubtful(flows) },
        ]);
    }
    table.text()
}

/// A few of them, and how many more.
fn shortened(services: &[String]) -> String {
    const SHOWN: usize = 3;
    let first = services.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match services.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        drain: DrainArgs,
    }

    fn parse(line: &str) -> Result<DrainArgs, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.drain)
    }

    #[test]
    fn arguments() {
        let long =
            "drain backend b1 --service web --wait --timeout 1m30s --until 2030-01-01T00:00:00Z";
        let DrainWhat::Backend(args) = parse(long).unwrap().what else { panic!("another one") };
        assert_eq!((args.timeout, args.wait), (Some(Duration::from_secs(90)), true));
        assert_eq!(args.until, Some(1_893_456_000_000));
        assert!(matches!(parse("drain list --output json").unwrap().what, DrainWhat::List(_)));
        let wrong = ["drain", "drain backend", "drain backend b1 --timeout 5s", "drain b1"];
        for line in wrong.into_iter().chain(["drain backend b1 --wait --timeout 5"]) {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    fn status(service: Option<&str>, services: &[&str], flows: u64) -> DrainStatus {
        DrainStatus {
            drain: Drain {
                backend: "b1".into(),
                service: service.map(str::to_string),
                uid: Some(1000),
                user: Some("ann".to_string()).filter(|_| flows > 0),
                since_unix_ms: 1_700_000_000_000,
                until_unix_ms: Some(1_700_003_600_000).filter(|_| flows == 0),
            },
            services: services.iter().map(|name| name.to_string()).collect(),
            flows,
        }
    }

    #[test]
    fn drains_look_like_this() {
        let all = [
            status(Some("web"), &["web"], 12),
            status(None, &["a", "b", "c", "d", "e"], 0),
            status(None, &[], 0),
        ];
        let text = table(&all, 1_700_000_060_000, false);
        let rows: Vec<String> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let wanted = [
            "DRAINED IN BY SINCE UNTIL FLOWS LEFT",
            "b1 web ann 1 m 0 s undrain 12",
            "b1 all services (a, b, c and 2 more) uid 1000 1 m 0 s 2023-11-14T23:13:20Z 0",
            "b1 all services (none has it) uid 1000 1 m 0 s 2023-11-14T23:13:20Z 0",
        ];
        assert_eq!(rows, wanted);
        assert_eq!(table(&[], 0, false), "");
        assert_eq!(line(&all[0]), "b1 of web drains: 12 flows left\n");
        let wanted = "b1 of a, b, c, d, e drains until 2023-11-14T23:13:20Z: no flow left\n";
        assert_eq!(line(&all[1]), wanted);
    }

    #[test]
    fn over_the_wire_and_back() {
        for status in [status(Some("web"), &["web"], 12), status(None, &[], 0)] {
            assert_eq!(status_of(proto::Drain::from(status.clone())), status);
        }
    }
}
