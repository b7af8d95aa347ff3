//! A plan and what became of it, for people.

use crate::admin::{Applied, ChangeReport};
use crate::cli::table::{Aligned, bad, doubtful, good, plain};
use crate::control::{FlowFates, Moved, Plan, ServiceChange, ServicePlan};

/// What goes to standard output and to standard error.
pub fn text(report: &ChangeReport, coloured: bool) -> (String, String) {
    let mut out = report.plan.as_ref().map(|plan| plan_text(plan, coloured)).unwrap_or_default();
    let mut err = String::new();
    if let Some(Applied { file, kept, generation, is_everywhere }) = &report.applied {
        out += &format!("{file} is replaced");
        out += &kept.as_ref().map_or(String::new(), |kept| format!("; {kept} has the former one"));
        out += &format!(".\nGeneration {generation} is published");
        out += if *is_everywhere { ", and every worker runs it.\n" } else { ".\n" };
        if !is_everywhere {
            err += "Not every worker runs it yet: see `guideway status`.\n";
        }
    } else if let Some(held) = &report.held {
        err += &format!("{held}: by `guideway apply --confirm`\n");
    }
    if report.would_break {
        err +=
            "Nothing was changed, since live flows would break: if that is meant, --yes says so.\n";
    }
    if let Some(refused) = &report.refused {
        err += &format!("{}\n", refused.trim_end());
    }
    (out, err)
}

fn plan_text(plan: &Plan, coloured: bool) -> String {
    let mut out = table(plan, coloured);
    for line in plan.services.iter().flat_map(|service| &service.changes).chain(&plan.others) {
        out += &format!("{line}\n");
    }
    out += &match (plan.services.is_empty() && plan.others.is_empty(), plan.unchanged) {
        (true, _) => "Nothing changes.\n".to_string(),
        (false, 1) => "1 service stays as it is.\n".to_string(),
        (false, unchanged) => format!("{unchanged} services stay as they are.\n"),
    };
    out += &verdict(plan);
    out
}

fn table(plan: &Plan, coloured: bool) -> String {
    let mut table = Aligned::new(
        coloured,
        "SERVICE|CHANGE|#ADDED|#CHANGED|#REMOVED|#MOVED|#BEYOND NEED|#KEEP|#DRAIN|#LOSE|#UNSURE",
    );
    for service in &plan.services {
        let ServicePlan { backends_added, backends_changed, backends_removed, .. } = service;
        let change = match service.change {
            ServiceChange::Added => good("added"),
            ServiceChange::Changed => doubtful("changed"),
            ServiceChange::Removed => bad("removed"),
            ServiceChange::Touched => doubtful("as it is"),
        };
        let share = |of: fn(Moved) -> f64| {
            let share = |moved| format!("{:.1} %", of(moved) * 100.0);
            plain(service.slots.map_or_else(|| "-".to_string(), share))
        };
        let FlowFates { keep, drain, lose, unsure } = service.flows;
        let flows = |count: u64, cell: fn(u64) -> comfy_table::Cell| match (plan.has_flows, count) {
            (false, _) => plain("-"),
            (true, 0) => plain(0),
            (true, count) => cell(count),
        };
        table.row([
            plain(&service.name),
            change,
            plain(backends_added),
            plain(backends_changed),
            plain(backends_removed),
            share(|moved| moved.share),
            share(|moved| moved.beyond),
            flows(keep, good),
            flows(drain, doubtful),
            flows(lose, bad),
            flows(unsure, bad),
        ]);
    }
    table.text()
}

fn verdict(plan: &Plan) -> String {
    if !plan.has_flows {
        return "Live flows are not known: two configurations were compared.\n".to_string();
    }
    let (mut lose, mut unsure) = (0, 0);
    for service in &plan.services {
        lose += service.flows.lose;
        unsure += service.flows.unsure;
    }
    let is_moved = |service: &&ServicePlan| service.is_stateless && service.breaks_flows();
    let stateless = plan.services.iter().filter(is_moved).map(|service| service.name.as_str());
    let mut out = match (plan.breaks_flows, lose) {
        (false, _) => "No live flow breaks.\n".to_string(),
        (true, 0) => String::new(),
        (true, 1) => "1 live flow breaks.\n".to_string(),
        (true, lose) => format!("{lose} live flows break.\n"),
    };
    if unsure > 0 {
        out += &format!("Of {unsure} more those break that have the SNAT address which goes.\n");
    }
    for name in stateless {
        out += &format!("Flows of {name} in slots that move break: it has no flow entries.\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, change: ServiceChange, flows: FlowFates) -> ServicePlan {
        ServicePlan {
            name: name.to_string(),
            change,
            backends_added: 1,
            backends_changed: 0,
            backends_removed: 2,
            slots: Some(Moved { share: 0.25, beyond: 0.004 }),
            flows,
            is_stateless: false,
            changes: vec![format!("service {name}: something")],
        }
    }

    fn report() -> ChangeReport {
        let flows = FlowFates { keep: 1_000, drain: 20, lose: 3, unsure: 0 };
        let web = service("web", ServiceChange::Changed, flows);
        let mut api = service("a-longer-name", ServiceChange::Added, FlowFates::default());
        api.slots = None;
        let plan = Plan {
            services: vec![api, web],
            unchanged: 7,
            others: vec!["snat 10.1.0.11 added: ports 1024-65535".to_string()],
            has_flows: true,
            breaks_flows: true,
        };
        ChangeReport { plan: Some(plan), ..ChangeReport::default() }
    }

    #[test]
    fn a_plan() {
        let (out, err) = text(&report(), false);
        assert_eq!(
            out,
            "\
SERVICE        CHANGE   ADDED  CHANGED  REMOVED   MOVED  BEYOND NEED  KEEP  DRAIN  LOSE  UNSURE
a-longer-name  added        1        0        2       -            -     0      0     0       0
web            changed      1        0        2  25.0 %        0.4 %  1000     20     3       0
service a-longer-name: something
service web: something
snat 10.1.0.11 added: ports 1024-65535
7 services stay as they are.
3 live flows break.
"
        );
        assert_eq!(err, "");
        assert!(text(&report(), true).0.contains('\u{1b}'), "coloured");
        let nothing = Plan { has_flows: true, ..Plan::default() };
        assert_eq!(plan_text(&nothing, false), "Nothing changes.\nNo live flow breaks.\n");
        let mut stateless = report();
        let plan = stateless.plan.as_mut().unwrap();
        plan.services[1].is_stateless = true;
        plan.services[1].flows = FlowFates { unsure: 5, ..FlowFates::default() };
        let (out, _) = text(&stateless, false);
        let wanted = "Of 5 more those break that have the SNAT address which goes.\n\
                      Flows of web in slots that move break: it has no flow entries.\n";
        assert!(out.ends_with(wanted), "{out}");
    }

    #[test]
    fn what_became_of_it() {
        let mut report = ChangeReport { held: Some("12 of 12".to_string()), ..report() };
        assert_eq!(text(&report, false).1, "12 of 12: by `guideway apply --confirm`\n");
        report.applied = Some(Applied {
            file: "f".to_string(),
            kept: Some("f.previous".to_string()),
            generation: 7,
            is_everywhere: true,
        });
        let (out, err) = text(&report, false);
        let wanted = "f is replaced; f.previous has the former one.\n\
                      Generation 7 is published, and every worker runs it.\n";
        assert!(out.ends_with(wanted), "{out}");
        assert_eq!(err, "");
        report.applied.as_mut().unwrap().is_everywhere = false;
        assert!(text(&report, false).1.starts_with("Not every worker runs it yet"));
        report.refused = Some("why\n".to_string());
        assert!(text(&report, false).1.ends_with("\nwhy\n"));
    }
}
