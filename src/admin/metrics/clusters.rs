//! Kubernetes clusters and their pools: both are few.

use super::super::{ClusterStatus, PoolFamily};
use super::text::{Exposition, Kind, seconds, truth};

/// Pools of a cluster that have metrics. Others are in `guideway kubernetes status`.
const MOST_POOLS: usize = 256;

/// Writes their families.
pub fn write(clusters: &[ClusterStatus], all: &mut Exposition) {
    type Row = (&'static str, &'static str, fn(&ClusterStatus) -> Option<f64>);
    let rows: [Row; 6] = [
        ("guideway_kubernetes_known", "1: all of the cluster is known.", |cluster| {
            Some(truth(cluster.known_unix_ms.is_some()).into())
        }),
        ("guideway_kubernetes_leads", "1: of its replicas this one writes.", |cluster| {
            Some(truth(cluster.leads).into())
        }),
        (
            "guideway_kubernetes_taken_timestamp_seconds",
            "When its last change was taken, in Unix time; absent before the first one.",
            |cluster| cluster.taken_unix_ms.map(seconds),
        ),
        ("guideway_kubernetes_services", "Services that are ours.", |cluster| {
            Some(cluster.ours as f64)
        }),
        (
            "guideway_kubernetes_refused",
            "Services that are not in force, and writes that the API did not take.",
            |cluster| Some(cluster.refused.len() as f64),
        ),
        ("guideway_kubernetes_problems", "Watches and writes that do not work now.", |cluster| {
            Some(cluster.problems.len() as f64)
        }),
    ];
    for (name, help, value) in rows {
        let mut family = all.family(Kind::Gauge, name, help);
        for cluster in clusters {
            if let Some(value) = value(cluster) {
                family.sample(&[("cluster", &cluster.name)], value);
            }
        }
    }
    pools(clusters, all);
}

fn pools(clusters: &[ClusterStatus], all: &mut Exposition) {
    let help = "Addresses of a pool by what is with them.";
    let mut metric = all.family(Kind::Gauge, "guideway_kubernetes_pool_addresses", help);
    for cluster in clusters {
        for pool in cluster.pools.iter().take(MOST_POOLS) {
            for PoolFamily { family, used, resting, free, .. } in &pool.families {
                for (state, count) in [("used", used), ("resting", resting), ("free", free)] {
                    let labels = [
                        ("cluster", cluster.name.as_str()),
                        ("pool", &pool.name),
                        ("family", family),
                        ("state", state),
                    ];
                    metric.sample(&labels, count);
                }
            }
        }
    }
}
