//! `guideway services` and `guideway backends`: who is served, and by whom.

use std::process::ExitCode;

use serde::Serialize;

use super::ask::{AskArgs, LIMIT, block_on, exit_code, is_coloured};
use super::status::render;
use super::watch::{self, WatchArgs};
use crate::admin::{self, AskError, BackendStatus, StatusReport};

/// Show the services of a running Guideway, or one of them with its backends.
#[derive(clap::Args, Debug)]
pub struct ServicesArgs {
    /// Only this one, with its backends and their traffic.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    watch: WatchArgs,
}

/// Show the backends of a running Guideway: state, health, share, flows and traffic.
#[derive(clap::Args, Debug)]
pub struct BackendsArgs {
    /// Only those of this service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    watch: WatchArgs,
}

/// Asks and prints. Exit code 1 when there is no answer, 2 when there is no such service.
pub fn services(args: &ServicesArgs) -> ExitCode {
    let shown = watch::show(&args.watch, args.ask.output, || async {
        let report = fetch(&args.ask, args.name.as_deref()).await?;
        args.ask.output.text(&report.services, || match &args.name {
            None => or_none(render::services(&report, is_coloured()), "service"),
            Some(_) => {
                let tables = [render::services, render::backends, render::traffic];
                let tables = tables.map(|table| table(&report, is_coloured()));
                tables.into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n")
            }
        })
    });
    exit_code("services", block_on(shown))
}

/// The same of backends.
pub fn backends(args: &BackendsArgs) -> ExitCode {
    let shown = watch::show(&args.watch, args.ask.output, || async {
        let report = fetch(&args.ask, args.service.as_deref()).await?;
        args.ask.output.text(&listed(&report), || {
            let table = or_none(render::backends(&report, is_coloured()), "backend");
            let traffic = render::traffic(&report, is_coloured());
            if traffic.is_empty() { table } else { format!("{table}\n{traffic}") }
        })
    });
    exit_code("backends", block_on(shown))
}

/// A backend with the name of its service.
#[derive(Serialize)]
struct Listed<'a> {
    service: &'a str,
    #[serde(flatten)]
    backend: &'a BackendStatus,
}

fn listed(report: &StatusReport) -> Vec<Listed<'_>> {
    let all = report.services.iter().flat_map(|service| {
        service.backends.iter().map(|backend| Listed { service: &service.name, backend })
    });
    all.collect()
}

/// The report with all services, or with the one that is asked for.
async fn fetch(ask: &AskArgs, service: Option<&str>) -> anyhow::Result<StatusReport> {
    let report = admin::fetch(&ask.socket, LIMIT).await?;
    Ok(only(report, service)?)
}

fn only(mut report: StatusReport, service: Option<&str>) -> Result<StatusReport, AskError> {
    let Some(name) = service else { return Ok(report) };
    report.services.retain(|service| service.name == name);
    if report.services.is_empty() {
        let advice = "`guideway services` shows those there are";
        return Err(AskError(format!("no service `{name}`: {advice}")));
    }
    Ok(report)
}

fn or_none(table: String, noun: &str) -> String {
    if table.is_empty() { format!("there is no {noun}\n") } else { table }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample_report;

    fn report() -> StatusReport {
        let mut report = sample_report();
        let mut dns = report.services[0].clone();
        dns.name = "dns".to_string();
        report.services.insert(0, dns);
        report
    }

    #[test]
    fn one_or_all() {
        let names = |report: &StatusReport| -> Vec<String> {
            report.services.iter().map(|service| service.name.clone()).collect()
        };
        assert_eq!(names(&only(report(), None).unwrap()), ["dns", "web"]);
        assert_eq!(names(&only(report(), Some("web")).unwrap()), ["web"]);
        let error = only(report(), Some("wbe")).unwrap_err().to_string();
        assert_eq!(error, "no service `wbe`: `guideway services` shows those there are");
    }

    #[test]
    fn backends_for_programs_have_their_service() {
        let value = serde_json::to_value(listed(&report())).unwrap();
        let names: Vec<_> =
            value.as_array().unwrap().iter().map(|b| (&b["service"], &b["name"])).collect();
        let row = |service: &str, name: &str| (service.into(), name.into());
        let wanted: Vec<(serde_json::Value, serde_json::Value)> =
            vec![row("dns", "b1"), row("dns", "b2"), row("web", "b1"), row("web", "b2")];
        assert_eq!(names, wanted.iter().map(|(s, n)| (s, n)).collect::<Vec<_>>());
        assert_eq!(value[0]["state"], "active");
    }
}
