//! Random deliveries, in any order.

use proptest::prelude::*;

use super::*;

/// Few names, addresses and ports, so that much collides; some are wrong in themselves.
fn any_form() -> impl Strategy<Value = Form> {
    let what = (0..6u8, 100..103u8, 79..83u16, 0..4u8, 0..3u64);
    let backends = prop::collection::vec(prop_oneof![9 => 11..14u8, 1 => 100..103u8], 0..3);
    (what, backends, 0..20u8).prop_map(|((name, last_octet, port, how, age), backends, rest)| {
        let mut form = old(form(&format!("s{name}"), last_octet, port), age);
        form.spec.mode = [Mode::Nat, Mode::Dnat, Mode::L2dsr, Mode::Dnat][usize::from(how)];
        form.spec.shared_address = rest == 1;
        form.spec.last_port = (how == 2 && rest < 9).then_some(port + u16::from(rest % 3));
        form.spec.health_check = None;
        form.spec.backends = (1u8..)
            .zip(backends)
            .map(|(number, last)| {
                let (net, port) = if last < 100 { (2, 80) } else { (1, 80) };
                let port = if how == 2 { form.spec.port } else { port };
                crate::control::BackendSpec {
                    address: [10, net, 0, last].into(),
                    port,
                    ..backend(number)
                }
            })
            .collect();
        if rest == 0 {
            form.spec.port = 0;
        }
        form
    })
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let forms = || prop::collection::vec(any_form(), 0..5);
    let pool = (0..4u8, 1..9u16).prop_map(|(last, start)| {
        let address = format!("10.1.0.{}", 98 + last);
        crate::control::SnatSpec { ports: start * 64..=start * 64 + 400, ..snat(&address, None) }
    });
    let pools = prop::collection::vec(pool, 0..3);
    let removed = prop::collection::vec((0..6u8).prop_map(|name| format!("s{name}")), 0..2);
    prop_oneof![
        (forms(), pools)
            .prop_map(|(forms, snat)| Delivery::Whole(Part { snat, ..Part::of(forms) })),
        (forms(), removed).prop_map(|(forms, removed)| Delivery::Some(forms, removed)),
        Just(Delivery::Gone),
        Just(Delivery::Refused(vec![Refusal::new("", "not YAML", "YAML")])),
        Just(Delivery::Unfit(vec![("s1".to_string(), vec![Refusal::new("", "lacks", "more")])])),
    ]
}

const SOURCES: usize = 3;

fn empty() -> Merger {
    let units = [Unit::Service, Unit::Service, Unit::Service];
    let sources = units.iter().zip(["one", "two", "three"]);
    Merger::new(sources.map(|(unit, name)| Source::new(name, *unit)).collect())
}

type Arrival = (usize, &'static str, Delivery);

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let part = prop::sample::select(vec!["p", "q"]);
    prop::collection::vec((0..SOURCES, part, delivery()), 0..16)
}

fn take(merger: &mut Merger, (source, part, delivery): &Arrival) -> Outcome {
    merger.take(*source, vec![(Arc::from(*part), delivery.clone())])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What comes of it is the same in whatever order sources come to speak, is what a look at all
    /// of it at once says, and can be compiled.
    #[test]
    fn arrival_does_not_count(arrivals in arrivals(), turns in prop::collection::vec(any::<u8>(), 16)) {
        let mut one = empty();
        for arrival in &arrivals {
            take(&mut one, arrival);
            prop_assert_eq!(one.merged(), &merge(one.sources()));
            let unfit = validate(&one.merged().desired);
            prop_assert!(unfit.is_empty(), "{:?}", unfit);
        }
        // Each source's own deliveries stay in their order.
        let mut queues: Vec<Vec<&Arrival>> = vec![vec![]; SOURCES];
        arrivals.iter().rev().for_each(|arrival| queues[arrival.0].push(arrival));
        let mut other = empty();
        for turn in turns.iter().cycle() {
            let waiting: Vec<usize> = (0..SOURCES).filter(|s| !queues[*s].is_empty()).collect();
            if waiting.is_empty() {
                break;
            }
            let source = waiting[usize::from(*turn) % waiting.len()];
            take(&mut other, queues[source].pop().unwrap());
        }
        prop_assert_eq!(one.merged(), other.merged());
    }

    /// Whoever is refused for a claim could not be served beside those that are.
    #[test]
    fn nobody_is_refused_for_nothing(arrivals in arrivals()) {
        let mut merger = empty();
        arrivals.iter().for_each(|arrival| _ = take(&mut merger, arrival));
        let merged = merger.merged();
        for source in merger.sources() {
            for form in source.parts().values().flat_map(|part| part.services.values()) {
                if merged.desired.services.iter().any(|spec| spec.is_same(&form.spec)) {
                    continue;
                }
                let mut beside = merged.desired.clone();
                beside.services.push(form.spec.clone());
                prop_assert!(!validate(&beside).is_empty(), "{:?}", form);
            }
        }
    }
}
