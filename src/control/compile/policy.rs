//! Which backends of a service get new flows: health, backups, and when health is not believed.

use super::plan::Member;
use crate::forwarding::BackendState;

/// What becomes of a service's backends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chosen {
    /// The backups are in use.
    pub backups: bool,
    /// So few are healthy that health is not believed: all of those in use get new flows.
    pub fails_open: bool,
}

/// Puts each backend into its state.
///
/// The first of two levels is used that has a healthy backend: those that are no backup, then the
/// backups. In it, when the share of healthy ones is below `min_healthy_percent`, health is not
/// believed. With no healthy one anywhere nothing is used, or, where health may be disbelieved, the
/// first level that there is.
///
/// What drains takes no part. Within a level no backend's state depends on another one's health, except
/// where health is not believed, so that a backend that flaps moves its own slots only.
pub(super) fn choose(members: &mut [Member<'_>], min_healthy_percent: u8) -> Chosen {
    let chosen = Chosen::of(members, min_healthy_percent);
    for member in members {
        let is_used = member.spec.backup == chosen.backups;
        member.state = if drains(member) {
            BackendState::Draining
        } else if is_used && chosen.fails_open {
            BackendState::Active
        } else if member.is_dead {
            BackendState::Unhealthy
        } else if is_used {
            BackendState::Active
        } else {
            BackendState::Standby
        };
        // The flows of one that is used all the same must not be ended as those of the dead.
        member.is_disbelieved = member.is_dead && member.state == BackendState::Active;
        member.is_dead &= !member.is_disbelieved;
    }
    chosen
}

impl Chosen {
    fn of(members: &[Member<'_>], min_healthy_percent: u8) -> Chosen {
        let count = |backups: bool| {
            let level = members.iter().filter(|m| m.spec.backup == backups && !drains(m));
            let (all, healthy) = level.fold((0u64, 0u64), |(all, healthy), member| {
                (all + 1, healthy + u64::from(!member.is_dead))
            });
            (all, healthy)
        };
        let counts = [(false, count(false)), (true, count(true))];
        let has_healthy = counts.iter().find(|(_, (_, healthy))| *healthy > 0);
        let used = has_healthy.or_else(|| counts.iter().find(|(_, (all, _))| *all > 0));
        let Some(&(backups, (all, healthy))) = used else {
            return Chosen { backups: false, fails_open: false };
        };
        let fails_open = healthy * 100 < all * u64::from(min_healthy_percent);
        Chosen { backups, fails_open }
    }
}

fn drains(member: &Member<'_>) -> bool {
    member.spec.drain || member.spec.weight == 0
}

#[cfg(test)]
mod tests {
    use super::super::BackendId;
    use super::*;
    use crate::control::BackendSpec;
    use crate::control::testing::backend;

    /// A letter for each backend: `h` healthy, `x` dead, `d` drains; capitals are backups. What comes:
    /// `a` active, `u` unhealthy, `s` standby, `d` draining.
    fn states(backends: &str, min_healthy_percent: u8) -> (String, Chosen) {
        let specs: Vec<BackendSpec> = (1u8..)
            .zip(backends.chars())
            .map(|(number, letter)| BackendSpec {
                backup: letter.is_uppercase(),
                drain: letter.eq_ignore_ascii_case(&'d'),
                ..backend(number)
            })
            .collect();
        let member = |(spec, letter): (_, char)| Member {
            spec,
            socket: "10.2.0.1:80".parse().unwrap(),
            id: BackendId(0),
            state: BackendState::Active,
            is_dead: letter.eq_ignore_ascii_case(&'x'),
            is_disbelieved: false,
            warmth: super::super::warm::FULL,
        };
        let mut members: Vec<Member<'_>> = specs.iter().zip(backends.chars()).map(member).collect();
        let chosen = choose(&mut members, min_healthy_percent);
        let letter = |member: &Member<'_>| match member.state {
            BackendState::Active => 'a',
            BackendState::Unhealthy => 'u',
            BackendState::Standby => 's',
            BackendState::Draining => 'd',
            BackendState::Retired => '?',
        };
        (members.iter().map(letter).collect(), chosen)
    }

    #[test]
    fn states_by_row() {
        let rows = [
            ("all are well", "hhhHH", 50, "aaass"),
            ("one is dead", "hhxHX", 50, "aausu"),
            ("half are well: as wanted", "hxHH", 50, "auss"),
            ("less than half: health is not believed", "hxxHX", 50, "aaasu"),
            ("never believed to be wrong", "hxxHH", 0, "auuss"),
            ("the others are gone", "xxHH", 0, "uuaa"),
            ("the others are gone, though wrong may be health", "xxHH", 50, "uuaa"),
            ("few backups are well either", "xxHXX", 50, "uuaaa"),
            ("nobody is well", "xxXX", 0, "uuuu"),
            ("nobody is well, which is not believed", "xxXX", 1, "aauu"),
            ("there are backups only", "HX", 0, "au"),
            ("there are backups only, and dead", "XX", 1, "aa"),
            ("what drains does not count", "dhxH", 50, "daus"),
            ("all but the backups drain", "ddH", 0, "dda"),
            ("a share above one half", "hhx", 67, "aaa"),
            ("a share of two thirds", "hhx", 66, "aau"),
            ("all or none", "hhx", 100, "aaa"),
            ("nobody", "", 50, ""),
        ];
        for (description, backends, percent, wanted) in rows {
            assert_eq!(states(backends, percent).0, wanted, "{description}");
        }
        assert_eq!(states("hxxH", 50).1, Chosen { backups: false, fails_open: true });
        assert_eq!(states("xxH", 50).1, Chosen { backups: true, fails_open: false });
    }
}
