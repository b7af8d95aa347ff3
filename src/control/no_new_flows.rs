//! The desired state of a balancer that is to end.

use super::DesiredState;

/// `desired` with all backends drained: flows that have entries go on, new ones get what `no_backend`
/// of their service says.
///
/// Services without entries (`flow: none`) stay as they are: this balancer knows none of their flows
/// and so could not tell old ones from new ones, and any other one with the same table goes on with
/// them.
pub fn without_new_flows(desired: &DesiredState) -> DesiredState {
    let mut ending = desired.clone();
    for service in &mut ending.services {
        if service.rules.entries && service.backends.iter().any(|backend| !backend.drain) {
            service.backends.iter_mut().for_each(|backend| backend.drain = true);
        }
    }
    ending
}

#[cfg(test)]
mod tests {
    use super::super::testing::{World, service};
    use super::*;
    use crate::forwarding::FlowRules;

    #[test]
    fn backends_are_drained_where_flows_have_entries() {
        let mut stateless = service("a", 2);
        stateless.rules = FlowRules { entries: false, ..FlowRules::default() };
        let mut world = World::new(vec![service("web", 2), stateless]);
        let ending = without_new_flows(&world.desired);
        let drained: Vec<usize> = (ending.services.iter())
            .map(|service| service.backends.iter().filter(|backend| backend.drain).count())
            .collect();
        assert_eq!(drained, [2, 0]);
        assert!(ending.services[1].is_same(&world.desired.services[1]), "not even copied");
        assert!(without_new_flows(&ending).services[0].is_same(&ending.services[0]), "once");

        world.desired.services.truncate(1);
        world.step();
        assert!(!world.snapshot.services[0].slots.is_empty());
        world.desired = without_new_flows(&world.desired);
        world.step();
        assert!(world.snapshot.services[0].slots.is_empty(), "nobody gets new flows");
        let kept = ["web/b1 0 Draining", "web/b2 1 Draining"];
        assert_eq!(world.backends(), kept, "both keep what they have");
    }
}
