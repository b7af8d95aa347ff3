//! Services and backends, of each as many as the limits let: the first ones by name, so that they are
//! the same ones from one time to the next.

use super::text::{Exposition, Kind, truth};
use super::{Most, Totals};
use crate::admin::{
    BackendStatus, NextHopStatus, ServiceState, ServiceStatus, StatusReport, TrafficStatus,
};
use crate::control::Health;
use crate::forwarding::BackendState;

use Kind::{Counter, Gauge};

/// `distinct` is what [`distinct`] makes of the report's services.
pub fn write(
    report: &StatusReport,
    distinct: &[ServiceStatus],
    totals: &Totals,
    most: Most,
    all: &mut Exposition,
) {
    let of_all: Vec<(&str, &BackendStatus)> = distinct
        .iter()
        .flat_map(|service| service.backends.iter().map(|backend| (&*service.name, backend)))
        .collect();
    let left_out = [
        ("services", distinct.len().saturating_sub(most.services)),
        ("backends", of_all.len().saturating_sub(most.backends)),
    ];
    counts(report, left_out, all);
    services(distinct.get(..most.services).unwrap_or(distinct), totals, all);
    backends(of_all.get(..most.backends).unwrap_or(&of_all), all);
    snat(report, all);
}

/// Services and backends with each name once. Two samples of one name and labels are refused by who
/// reads them, and while flows to it live a service or backend of the same name may be there that had
/// another address or mode: its flows and traffic count with those of the new one.
pub fn distinct(services: &[ServiceStatus]) -> Vec<ServiceStatus> {
    let mut all: Vec<ServiceStatus> = Vec::with_capacity(services.len());
    for service in services {
        match all.last_mut().filter(|last| last.name == service.name) {
            None => all.push(service.clone()),
            Some(last) => {
                let mut backends = std::mem::take(&mut last.backends);
                backends.extend_from_slice(&service.backends);
                backends.sort_by(|one, other| one.name.cmp(&other.name));
                let flows = last.flows + service.flows;
                if last.state == ServiceState::Removed {
                    *last = ServiceStatus { backends: Vec::new(), ..service.clone() };
                }
                (last.backends, last.flows) = (backends, flows);
            }
        }
    }
    all.iter_mut().for_each(|service| distinct_backends(&mut service.backends));
    all
}

fn distinct_backends(backends: &mut Vec<BackendStatus>) {
    let is_new = |backend: &BackendStatus| backend.state != BackendState::Retired;
    backends.dedup_by(|later, first| {
        if later.name != first.name {
            return false;
        }
        let traffic = first.traffic.plus(&later.traffic);
        let flows = first.flows + later.flows;
        if is_new(later) && !is_new(first) {
            std::mem::swap(first, later);
        }
        (first.traffic, first.flows) = (traffic, flows);
        true
    });
}

/// How many there are, shown or not.
fn counts(report: &StatusReport, left_out: [(&str, usize); 2], all: &mut Exposition) {
    let backends = || report.services.iter().flat_map(|service| &service.backends);
    let help = "Services and backends without metrics of their own, since there are more than \
                admin.metrics_services or admin.metrics_backends.";
    let mut family = all.family(Gauge, "guideway_metrics_left_out", help);
    left_out.iter().for_each(|(kind, count)| family.sample(&[("kind", kind)], count));

    let mut family = all.family(Gauge, "guideway_services", "Services by state.");
    for (name, state) in SERVICE_STATES {
        let count = report.services.iter().filter(|service| service.state == state).count();
        family.sample(&[("state", name)], count);
    }
    let mut family = all.family(Gauge, "guideway_backends", "Backends of all services by state.");
    for (name, state) in BACKEND_STATES {
        let count = backends().filter(|backend| backend.state == state).count();
        family.sample(&[("state", name)], count);
    }
    let unreachable = backends().filter(|backend| !is_reachable(backend)).count();
    let help = "Backends to which no way is known.";
    all.single(Gauge, "guideway_backends_without_next_hop", help, unreachable);
    let flows: u64 = report.workers.iter().map(|worker| worker.flows).sum();
    all.single(Gauge, "guideway_flows", "Live flow entries of all workers.", flows);
}

const SERVICE_STATES: [(&str, ServiceState); 3] = [
    ("serving", ServiceState::Serving),
    ("no_backend", ServiceState::NoBackend),
    ("removed", ServiceState::Removed),
];

const BACKEND_STATES: [(&str, BackendState); 5] = [
    ("active", BackendState::Active),
    ("unhealthy", BackendState::Unhealthy),
    ("draining", BackendState::Draining),
    ("standby", BackendState::Standby),
    ("retired", BackendState::Retired),
];

fn is_reachable(backend: &BackendStatus) -> bool {
    matches!(backend.next_hop, NextHopStatus::Known { .. })
}

fn services(services: &[ServiceStatus], totals: &Totals, all: &mut Exposition) {
    let mut gauge = |name, help, value: &dyn Fn(&ServiceStatus) -> u64| {
        let mut family = all.family(Gauge, name, help);
        services
            .iter()
            .for_each(|service| family.sample(&[("service", &service.name)], value(service)));
    };
    gauge("guideway_service_serving", "1: new flows get a backend.", &|service| {
        truth(service.state == ServiceState::Serving).into()
    });
    gauge("guideway_service_flows", "Live flows.", &|service| service.flows);
    gauge("guideway_service_table_slots", "Length of its Maglev table.", &|service| {
        service.table_size as u64
    });
    gauge("guideway_service_backends", "Backends, whatever their state.", &|service| {
        service.backends.len() as u64
    });
    gauge("guideway_service_backends_active", "Backends that get new flows.", &|service| {
        let is_active = |backend: &&BackendStatus| backend.state == BackendState::Active;
        service.backends.iter().filter(is_active).count() as u64
    });
    for (name, help, value) in TRAFFIC {
        let name = match *name {
            "packets" => "guideway_service_packets_total",
            _ => "guideway_service_bytes_total",
        };
        let mut family = all.family(Counter, name, help);
        for service in services {
            for (direction, value) in value(totals.of(&service.name)) {
                family.sample(&[("service", &service.name), ("direction", direction)], value);
            }
        }
    }
}

/// What is counted, its help, and both directions of it.
type TrafficRow = (&'static str, &'static str, fn(TrafficStatus) -> [(&'static str, u64); 2]);

const TRAFFIC: &[TrafficRow] = &[
    (
        "packets",
        "Packets from clients (in) and from backends (out); with direct return none come out by us.",
        |traffic| [("in", traffic.packets_in), ("out", traffic.packets_out)],
    ),
    ("bytes", "Bytes of their frames.", |traffic| {
        [("in", traffic.bytes_in), ("out", traffic.bytes_out)]
    }),
];

fn backends(backends: &[(&str, &BackendStatus)], all: &mut Exposition) {
    let mut gauge = |name, help, value: &dyn Fn(&BackendStatus) -> Option<f64>| {
        let mut family = all.family(Gauge, name, help);
        for (service, backend) in backends {
            if let Some(value) = value(backend) {
                family.sample(&labels(service, backend), value);
            }
        }
    };
    gauge("guideway_backend_active", "1: it gets new flows.", &|backend| {
        Some(truth(backend.state == BackendState::Active).into())
    });
    gauge("guideway_backend_draining", "1: it keeps its flows and gets no new ones.", &|backend| {
        Some(truth(backend.state == BackendState::Draining).into())
    });
    gauge("guideway_backend_healthy", "1: its check says so; absent without one.", &|backend| {
        let health = backend.health.as_ref()?;
        Some(truth(health.health == Health::Up).into())
    });
    gauge(
        "guideway_backend_health_changed_timestamp_seconds",
        "Since when its check says so, in Unix time.",
        &|backend| Some(backend.health.as_ref()?.since_unix_ms as f64 / 1_000.0),
    );
    gauge("guideway_backend_next_hop_known", "1: the way to it is known.", &|backend| {
        Some(truth(is_reachable(backend)).into())
    });
    gauge("guideway_backend_flows", "Live flows.", &|backend| Some(backend.flows as f64));
    gauge("guideway_backend_weight", "Weight as configured.", &|backend| {
        Some(backend.weight.into())
    });
    gauge("guideway_backend_share_ratio", "Its part of the table's slots.", &|backend| {
        Some(backend.share)
    });
    for (name, help, value) in TRAFFIC {
        let name = match *name {
            "packets" => "guideway_backend_packets_total",
            _ => "guideway_backend_bytes_total",
        };
        let mut family = all.family(Counter, name, help);
        for (service, backend) in backends {
            for (direction, value) in value(backend.traffic) {
                let [one, two] = labels(service, backend);
                family.sample(&[one, two, ("direction", direction)], value);
            }
        }
    }
}

fn labels<'a>(service: &'a str, backend: &'a BackendStatus) -> [(&'static str, &'a str); 2] {
    [("service", service), ("backend", &backend.name)]
}

fn snat(report: &StatusReport, all: &mut Exposition) {
    let mut family = all.family(Gauge, "guideway_snat_ports", "Ports of a NAT address.");
    for snat in &report.snat {
        let interface = snat.interface.as_deref().unwrap_or_default();
        let (address, first) = (snat.address.to_string(), snat.first_port.to_string());
        let ports = u32::from(snat.last_port) + 1 - u32::from(snat.first_port);
        let labels = [("address", &*address), ("first_port", &*first), ("interface", interface)];
        family.sample(&labels, ports);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample_report;

    #[test]
    fn each_name_is_there_once() {
        let [service] = &sample_report().services[..] else { panic!("one service") };
        let backend = |state, flows| {
            let traffic = TrafficStatus { packets_in: flows, ..TrafficStatus::default() };
            BackendStatus { state, flows, traffic, ..service.backends[0].clone() }
        };
        let (active, retired) =
            (backend(BackendState::Active, 1), backend(BackendState::Retired, 2));
        let of = |state, backends: &[&BackendStatus]| {
            let backends: Vec<_> = backends.iter().copied().cloned().collect();
            let flows = backends.iter().map(|backend| backend.flows).sum();
            ServiceStatus { state, backends, flows, ..service.clone() }
        };
        let serving = of(ServiceState::Serving, &[&retired, &active, &retired]);
        let removed = of(ServiceState::Removed, &[&retired]);
        for (description, services, flows) in [
            ("a backend thrice", vec![serving.clone()], 5),
            ("the removed one first", vec![removed.clone(), serving.clone()], 7),
            ("the removed one last", vec![serving, removed], 7),
        ] {
            let all = distinct(&services);
            let [service] = &all[..] else { panic!("{description}: {}", all.len()) };
            assert_eq!((service.state, service.flows), (ServiceState::Serving, flows));
            let [backend] = &service.backends[..] else { panic!("{description}") };
            let counted = (backend.state, backend.flows, backend.traffic.packets_in);
            assert_eq!(counted, (BackendState::Active, flows, flows), "{description}");
        }
    }
}
