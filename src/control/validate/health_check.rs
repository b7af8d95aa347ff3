//! Health checks.

use super::super::{HealthCheckKind, HealthCheckSpec, Refusal};

pub(super) fn check(path: &str, spec: &HealthCheckSpec, refusals: &mut Vec<Refusal>) {
    let mut refuse = |field: &str, problem: String, wanted: &str| {
        refusals.push(Refusal::new(format!("{path}.{field}"), problem, wanted));
    };
    if spec.interval_ms == 0 {
        refuse("interval", "0 is no time between probes".into(), "a time such as 2s");
    }
    if spec.timeout_ms == 0 {
        refuse("timeout", "no probe is answered in 0 ms".into(), "a time such as 1s");
    }
    if spec.timeout_ms > spec.interval_ms {
        let (timeout, interval) = (spec.timeout_ms, spec.interval_ms);
        refuse(
            "timeout",
            format!("{timeout} ms is longer than the interval of {interval} ms"),
            "a timeout up to the interval, so that probes do not overlap",
        );
    }
    for (field, value) in [("rise", spec.rise), ("fall", spec.fall)] {
        if value == 0 {
            refuse(field, "0 results in a row never come".into(), "1 or more");
        }
    }
    if spec.port == Some(0) {
        refuse("port", "0 is not a port".into(), "1 to 65535, or none for the backend's own");
    }
    let HealthCheckKind::Http { path: target, host, status } = &spec.kind else { return };
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !target.starts_with('/') || !is_plain(target) {
        let wanted = "a request target that begins with `/`, printable ASCII without blanks";
        refuse("path", format!("{target:?} is not a request target"), wanted);
    }
    if let Some(host) = host.as_ref().filter(|host| host.is_empty() || !is_plain(host)) {
        refuse("host", format!("{host:?} is not a host name"), "a name such as example.org");
    }
    if *status.start() < 100 || *status.end() > 599 || status.is_empty() {
        let problem = format!("{}-{} is not a range of statuses", status.start(), status.end());
        refuse("status", problem, "a range from 100 to 599, such as 200-399");
    }
}
