//! Time to build a Maglev table. The paper (section 5.3) has 1.8 ms for 65,537 slots and 22.9 ms
//! for 655,373, on a machine of 2016.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use guideway::maglev::{Candidate, build};

fn tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("maglev_table");
    let key = [7; 16];
    for (size, count) in [(65_537, 10), (65_537, 100), (65_537, 1_000), (655_373, 1_000)] {
        let names: Vec<String> = (0..count).map(|i| format!("backend-{i}")).collect();
        for (kind, weights) in [("equal", 1), ("weights_1_to_10", 10)] {
            let candidate = |(i, name)| Candidate { name, weight: (i % weights) as u16 + 1 };
            let candidates: Vec<Candidate> =
                names.iter().map(String::as_str).enumerate().map(candidate).collect();
            let id = BenchmarkId::new(format!("{size}_{kind}"), count);
            group.bench_with_input(id, &candidates, |bencher, candidates| {
                bencher.iter(|| build(&key, candidates, size));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, tables);
criterion_main!(benches);
