//! `guideway kubernetes status`: clusters, and each of their services that is ours.

use std::process::ExitCode;

use comfy_table::Cell;

use crate::admin::{
    self, AskError, ClusterReport, KubernetesReport, KubernetesService, KubernetesServiceState,
    PoolFamily,
};
use crate::cli::ask::{AskArgs, LIMIT, block_on, exit_code, is_coloured};
use crate::cli::status::render::age;
use crate::cli::table::{Aligned, bad, doubtful, good, plain};
use crate::cli::watch::{self, WatchArgs};

/// Show the Kubernetes clusters of a running Guideway and their Services: address, pool, target, pods,
/// and what is in the way of each.
#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    /// Only these Services.
    #[arg(value_name = "NAMESPACE/NAME")]
    services: Vec<String>,
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    watch: WatchArgs,
}

/// Asks and prints. Exit code 1 when there is no answer, 2 when there is no such Service.
pub fn run(args: &StatusArgs) -> ExitCode {
    let shown = watch::show(&args.watch, args.ask.output, || async {
        let report = admin::fetch_kubernetes(&args.ask.socket, LIMIT).await?;
        let report = only(report, &args.services)?;
        args.ask.output.text(&report, || tables(&report, is_coloured()))
    });
    exit_code("kubernetes status", block_on(shown))
}

fn name_of(service: &KubernetesService) -> String {
    format!("{}/{}", service.namespace, service.name)
}

fn only(mut report: KubernetesReport, names: &[String]) -> Result<KubernetesReport, AskError> {
    let all = || report.clusters.iter().filter_map(|cluster| cluster.services.as_ref()).flatten();
    for name in names {
        if !all().any(|service| name_of(service) == *name) {
            let advice = "`guideway kubernetes status` shows those that are Guideway's";
            return Err(AskError(format!("no Service `{name}`: {advice}")));
        }
    }
    if !names.is_empty() {
        for services in report.clusters.iter_mut().filter_map(|cluster| cluster.services.as_mut()) {
            services.retain(|service| names.contains(&name_of(service)));
        }
    }
    Ok(report)
}

fn tables(report: &KubernetesReport, coloured: bool) -> String {
    if report.clusters.is_empty() {
        return "there is no cluster: `kubernetes` in the configuration names them\n".to_string();
    }
    let (pools, services) = (pools(report, coloured), services(report, coloured));
    let sections = [clusters(report, coloured), in_the_way(report), pools, services];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn clusters(report: &KubernetesReport, coloured: bool) -> String {
    let header = "CLUSTER|#KNOWN FOR|LEADS|#SERVICES|#LAST CHANGE|LAST ERROR";
    let mut table = Aligned::new(coloured, header);
    let ago = |then| age(report.now_unix_ms, then);
    for ClusterReport { cluster, .. } in &report.clusters {
        let error = cluster.last_error.as_ref();
        let is_over = cluster.problems.is_empty();
        let error = error.map(|last| format!("{} ago: {}", ago(last.at_unix_ms), last.error));
        table.row([
            plain(&cluster.name),
            cluster.known_unix_ms.map_or_else(|| bad("not known"), |since| good(ago(since))),
            plain(if cluster.leads { "yes" } else { "no" }),
            plain(cluster.ours),
            plain(cluster.taken_unix_ms.map_or_else(|| "-".to_string(), |then| ago(then) + " ago")),
            match error {
                None => plain("-"),
                Some(error) if is_over => plain(error),
                Some(error) => bad(error),
            },
        ]);
    }
    table.text()
}

/// What is in the way of a cluster now.
fn in_the_way(report: &KubernetesReport) -> String {
    let lines = report.clusters.iter().flat_map(|ClusterReport { cluster, services }| {
        let problems = cluster.problems.iter().map(|why| format!("{}: {why}\n", cluster.name));
        let silent = services.is_none();
        let silent =
            silent.then(|| format!("{}: its services are not told in time\n", cluster.name));
        problems.chain(silent)
    });
    lines.collect()
}

/// A row a pool and family.
fn pools(report: &KubernetesReport, coloured: bool) -> String {
    let one = report.clusters.len() == 1;
    let mut table = table(coloured, one, "POOL|FAMILY|#ADDRESSES|#USED|#RESTING|#FREE|PROBLEM");
    for ClusterReport { cluster, .. } in &report.clusters {
        let of = || (!one).then(|| plain(&cluster.name));
        for pool in &cluster.pools {
            for PoolFamily { family, addresses, used, resting, free } in &pool.families {
                let counts = [addresses, used, resting].map(|count| plain(many(*count)));
                let free = if *free == 0 { bad(0) } else { plain(many(*free)) };
                let about = [plain(&pool.name), plain(family)];
                table.row(of().into_iter().chain(about).chain(counts).chain([free]));
            }
            if let Some(problem) = &pool.problem {
                let none = [plain(&pool.name)].into_iter().chain((0..5).map(|_| plain("-")));
                table.row(of().into_iter().chain(none).chain([bad(problem)]));
            }
        }
    }
    table.text()
}

/// A number that a person reads: nobody counts a network of IPv6.
fn many(count: u64) -> String {
    if count > 1 << 40 { "many".to_string() } else { count.to_string() }
}

fn table(coloured: bool, one: bool, header: &str) -> Aligned {
    let header = if one { header.to_string() } else { format!("CLUSTER|{header}") };
    Aligned::new(coloured, &header)
}

/// A row a Service.
fn services(report: &KubernetesReport, coloured: bool) -> String {
    let one = report.clusters.len() == 1;
    let header = "SERVICE|ADDRESS|POOL|TARGET|#READY|#DRAINING|#DOWN|STATE|WHY";
    let mut table = table(coloured, one, header);
    for ClusterReport { cluster, services } in &report.clusters {
        for service in services.iter().flatten() {
            let cluster = (!one).then(|| plain(&cluster.name));
            table.row(cluster.into_iter().chain(row(service)));
        }
    }
    table.text()
}

fn row(service: &KubernetesService) -> [Cell; 9] {
    use KubernetesServiceState as State;
    let addresses: Vec<String> =
        service.addresses.iter().map(|one| one.address.to_string()).collect();
    let mut pools: Vec<&str> = service.addresses.iter().map(|one| one.pool.as_str()).collect();
    pools.dedup();
    let list = |texts: String| if texts.is_empty() { plain("-") } else { plain(texts) };
    let (target, source) = (&service.target, &service.source);
    let target = if target == "nodes" { target.clone() } else { format!("{target}, {source}") };
    let (state, is_well) = match service.state {
        State::Serving => (good("serving"), true),
        State::NoEndpoint => (bad("no endpoint"), false),
        State::NoAddress => (bad("no address"), false),
        State::Limited => (doubtful("limited"), false),
        State::Orphaned => (doubtful("orphaned"), false),
        State::Leaving => (doubtful("leaving"), false),
    };
    let why =
        if is_well { String::new() } else { format!("{}: {}", service.reason, service.message) };
    [
        plain(name_of(service)),
        list(addresses.join(", ")),
        list(pools.join(", ")),
        plain(target),
        plain(service.ready),
        plain(service.draining),
        if service.down == 0 { plain(0) } else { bad(service.down) },
        state,
        plain(why),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{ClusterStatus, LastError, PoolStatus, PooledAddress};

    fn report() -> KubernetesReport {
        let address = |address: &str| PooledAddress {
            address: address.parse().unwrap(),
            pool: "web".to_string(),
        };
        let web = KubernetesService {
            namespace: "shop".to_string(),
            name: "web".to_string(),
            addresses: vec![address("203.0.113.10"), address("2001:db8:113::10")],
            target: "pods".to_string(),
            source: "snat".to_string(),
            services: vec!["shop.web.80.tcp".to_string(), "shop.web.80.tcp.v6".to_string()],
            ready: 3,
            draining: 1,
            reason: "Ready".to_string(),
            message: "203.0.113.10 and 2001:db8:113::10 assigned".to_string(),
            ..KubernetesService::default()
        };
        let late = KubernetesService {
            name: "late".to_string(),
            state: KubernetesServiceState::NoAddress,
            addresses: vec![],
            target: "nodes".to_string(),
            services: vec![],
            down: 2,
            reason: "AddressPoolExhausted".to_string(),
            message: "all IPv4 addresses of few are in use: add addresses, or delete a service"
                .to_string(),
            ..web.clone()
        };
        let cluster = ClusterStatus {
            name: "main".to_string(),
            known_unix_ms: Some(1_700_000_000_000),
            taken_unix_ms: Some(1_700_000_185_000),
            ours: 2,
            services: 2,
            leads: true,
            problems: vec!["nodes: no answer".to_string()],
            last_error: Some(LastError {
                at_unix_ms: 1_700_000_180_000,
                error: "nodes: no answer".to_string(),
            }),
            pools: vec![
                PoolStatus {
                    name: "web".to_string(),
                    families: vec![
                        PoolFamily {
                            family: "ipv4".to_string(),
                            addresses: 90,
                            used: 1,
                            resting: 2,
                            free: 87,
                        },
                        PoolFamily {
                            family: "ipv6".to_string(),
                            addresses: u64::MAX >> 1,
                            used: 1,
                            resting: 0,
                            free: u64::MAX >> 1,
                        },
                    ],
                    problem: None,
                },
                PoolStatus {
                    name: "few".to_string(),
                    families: vec![],
                    problem: Some("`x` is no network, range or address".to_string()),
                },
            ],
            ..ClusterStatus::default()
        };
        let services = Some(vec![late, web]);
        let clusters = vec![ClusterReport { cluster, services }];
        KubernetesReport { now_unix_ms: 1_700_000_192_000, clusters }
    }

    #[test]
    fn a_report_looks_like_this() {
        insta::assert_snapshot!(tables(&report(), false));
        assert!(tables(&report(), true).contains('\u{1b}'));
        let mut two = report();
        two.clusters.push(ClusterReport { services: None, ..two.clusters[0].clone() });
        let two = tables(&two, false);
        assert!(two.contains("\nCLUSTER  SERVICE") && two.contains("not told in time"), "{two}");
        assert!(tables(&KubernetesReport::default(), false).contains("no cluster"));
    }

    #[test]
    fn some_or_all() {
        let names = |report: &KubernetesReport| -> Vec<String> {
            report.clusters[0].services.iter().flatten().map(name_of).collect()
        };
        assert_eq!(names(&only(report(), &[]).unwrap()), ["shop/late", "shop/web"]);
        let web = ["shop/web".to_string()];
        assert_eq!(names(&only(report(), &web).unwrap()), web);
        let error = only(report(), &["shop/wbe".to_string()]).unwrap_err().to_string();
        assert!(error.starts_with("no Service `shop/wbe`: "), "{error}");
    }
}
