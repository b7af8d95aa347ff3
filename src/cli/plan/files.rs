//! Two configurations on disk, side by side.

use std::path::Path;

use crate::admin::ChangeReport;
use crate::control::{
    CompileInput, Delivery, DesiredState, Form, HealthView, InterfaceSpec, LimitsSpec, LinkState,
    LiveFlows, Merger, NodeSpec, Part, PlanInput, Refusal, Source, Topology, Unit, compile, plan,
};
use crate::forwarding::{ClusterKey, Snapshot};
use crate::source::yaml::folder::{Changed, Folder};
use crate::source::yaml::{self, LoadedConfig};
use crate::wire::MacAddress;

/// What the new one would do where the old one runs, as far as that can be told without it.
pub fn compare(old: &Path, new: &Path) -> ChangeReport {
    match try_compare(old, new) {
        Ok(plan) => ChangeReport { plan: Some(plan), ..ChangeReport::default() },
        Err(refused) => ChangeReport { refused: Some(refused), ..ChangeReport::default() },
    }
}

fn try_compare(old: &Path, new: &Path) -> Result<crate::control::Plan, String> {
    let (old, new) = (read(old)?, read(new)?);
    let mut limits = new.0.limits.clone();
    limits.backends = limits.backends.max(old.0.limits.backends) * 2;
    let topology = topology(old.0.interfaces.iter().chain(&new.0.interfaces));
    let world = World { limits, topology };
    let running = world.compile(&old.1, &Snapshot::empty())?;
    let next = world.compile(&new.1, &running)?;
    Ok(plan(&PlanInput {
        before: &old.1,
        after: &new.1,
        running: &running,
        next: &next,
        live: None,
    }))
}

/// A machine on which both would run.
struct World {
    limits: LimitsSpec,
    topology: Topology,
}

impl World {
    fn compile(&self, desired: &DesiredState, previous: &Snapshot) -> Result<Snapshot, String> {
        let input = CompileInput {
            desired,
            health: &HealthView::new(),
            topology: &self.topology,
            live: &LiveFlows::default(),
            previous,
            limits: &self.limits,
            // Any key gives tables that differ as much as those of the right one.
            cluster_key: ClusterKey([0; 16]),
            now_ms: 0,
        };
        compile(&input).map(|compiled| compiled.snapshot).map_err(lines)
    }
}

fn lines(refusals: Vec<Refusal>) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Interfaces by their names; nothing else of them is asked for.
fn topology<'a>(interfaces: impl Iterator<Item = &'a InterfaceSpec>) -> Topology {
    let mut topology = Topology::default();
    for (ifindex, InterfaceSpec { name, .. }) in (1..).zip(interfaces) {
        if topology.port_by_name(name).is_none() {
            topology.links.push(LinkState {
                name: name.clone(),
                ifindex,
                bridge_ifindex: None,
                mac: MacAddress([2, 0, 0, 0, 0, 0]),
                mtu_bytes: 1_500,
                up: true,
            });
        }
    }
    topology
}

/// A file, or a folder whose files are all fine.
pub fn read(path: &Path) -> Result<(NodeSpec, DesiredState), String> {
    if !path.is_dir() {
        let LoadedConfig { node, desired, .. } = yaml::load(path).map_err(|e| e.to_string())?;
        return Ok((node, desired));
    }
    let mut node = None;
    let mut deliveries = Vec::new();
    for (name, changed) in Folder::new(path).read().map_err(|e| e.to_string())?.changed {
        let desired = match changed {
            Changed::Main(main) => {
                let main = main.map_err(|e| e.to_string())?;
                node = Some(main.node);
                main.desired
            }
            Changed::Part(part) => part.map_err(|e| e.to_string())?.desired,
        };
        let part = Part {
            snat: desired.snat,
            tunnel_sources: desired.tunnel_sources,
            ..Part::of(desired.services.into_iter().map(Form::from))
        };
        deliveries.push((name.into(), Delivery::Whole(part)));
    }
    let name = path.display().to_string();
    let node = node.ok_or_else(|| format!("{name}: there is no guideway.yaml in it"))?;
    let mut merger = Merger::new(vec![Source::new(&name, Unit::File)]);
    merger.take(0, deliveries);
    let merged = merger.merged();
    if !merged.refused.is_empty() {
        let refused = merged.refused.iter().map(ToString::to_string);
        return Err(refused.collect::<Vec<_>>().join("\n"));
    }
    Ok((node, merged.desired.clone()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const OLD: &str = "\
version: 1
interfaces: [{ name: eth1 }]
snat: [{ address: 10.1.0.10, interface: eth1 }]
services:
  - name: web
    address: 10.1.0.100
    port: 80
    backends: [{ name: b1, address: 10.2.0.11 }, { name: b2, address: 10.2.0.12 }]
";

    #[test]
    fn files_and_folders() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("old.yaml"), OLD).unwrap();
        fs::write(at("new.yaml"), OLD.replace(", { name: b2, address: 10.2.0.12 }", "")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("folder/guideway.yaml"), OLD).unwrap();
        let more = "version: 1\nservices:\n  - { name: more, address: 10.1.0.101, port: 80, \
                    backends: [] }\n";
        fs::write(at("folder/more.yaml"), more).unwrap();
        let plan = compare(&at("old.yaml"), &at("new.yaml")).plan.unwrap();
        assert_eq!((plan.services.len(), plan.services[0].backends_removed), (1, 1));
        let moved = plan.services[0].slots.unwrap();
        assert!(moved.share > 0.4 && moved.share < 0.6, "{moved:?}");
        assert!(!plan.breaks_flows && !plan.has_flows);
        let plan = compare(&at("old.yaml"), &at("folder")).plan.unwrap();
        assert_eq!((plan.services.len(), &*plan.services[0].name, plan.unchanged), (1, "more", 1));
        let refused = |old: &str, new: &str| compare(&at(old), &at(new)).refused.unwrap();
        assert!(refused("old.yaml", "none.yaml").contains("none.yaml: cannot be read"));
        fs::write(at("folder/twice.yaml"), more.replace("more,", "twice,")).unwrap();
        assert!(refused("folder", "old.yaml").contains("service twice of twice.yaml"));
        fs::remove_file(at("folder/guideway.yaml")).unwrap();
        assert!(refused("folder", "old.yaml").contains("there is no guideway.yaml"));
    }
}
