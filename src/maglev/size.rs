//! Table sizes: primes, chosen from the number of backends.

use super::Candidate;

/// Largest table that may be asked for. At 4 bytes a slot 20 MB a service.
pub const MAX_SIZE: u32 = 5_000_011;

/// A table has at least as many slots for each backend: then no backend is more than one percent
/// above another (section 3.4 of the paper).
pub const SLOTS_PER_BACKEND: u64 = 100;

/// The sizes that are chosen from. Few and far apart on purpose: another size moves nearly every
/// slot, so a service should seldom outgrow its table. The last one is the paper's.
const DEFAULT_SIZES: [u32; 4] = [1_021, 4_093, 16_381, 65_537];

/// The size that is chosen at most; larger ones have to be configured.
pub fn largest_default_size() -> u32 {
    DEFAULT_SIZES[DEFAULT_SIZES.len() - 1]
}

/// The slots these backends need: [`SLOTS_PER_BACKEND`] for each, and a whole slot for the one of
/// the smallest weight. Backends of weight 0 count too, so that draining one leaves the size.
pub fn size_needed<'a>(candidates: impl IntoIterator<Item = Candidate<'a>>) -> u64 {
    let (mut count, mut sum, mut smallest) = (0u64, 0u64, u64::from(u16::MAX));
    for candidate in candidates {
        count += 1;
        sum += u64::from(candidate.weight);
        if candidate.weight > 0 {
            smallest = smallest.min(u64::from(candidate.weight));
        }
    }
    (count * SLOTS_PER_BACKEND).max(sum.div_ceil(smallest))
}

/// The smallest default size with at least `needed` slots, or the largest there is.
pub fn size_for(needed: u64) -> u32 {
    let fits = DEFAULT_SIZES.into_iter().find(|&size| u64::from(size) >= needed);
    fits.unwrap_or(largest_default_size())
}

/// The smallest prime that is not below `from`.
pub fn next_prime(from: u32) -> u32 {
    (from..=u32::MAX).find(|&number| is_prime(number)).unwrap_or(MAX_SIZE)
}

/// Is it prime? By trial division: it is asked a few times for each configuration.
pub fn is_prime(number: u32) -> bool {
    let divides = |divisor: u32| number.is_multiple_of(divisor);
    match number {
        0 | 1 => false,
        2 | 3 => true,
        _ if divides(2) || divides(3) => false,
        _ => {
            !(5..=number.isqrt()).step_by(6).any(|divisor| divides(divisor) || divides(divisor + 2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_against_a_sieve() {
        let mut composite = vec![false; 70_000];
        for number in 2..composite.len() {
            assert_eq!(is_prime(number as u32), !composite[number], "{number}");
            if !composite[number] {
                (number * number..composite.len())
                    .step_by(number)
                    .for_each(|n| composite[n] = true);
            }
        }
        assert!(!is_prime(0) && !is_prime(1) && is_prime(MAX_SIZE) && is_prime(4_294_967_291));
        assert!(DEFAULT_SIZES.into_iter().all(is_prime));
        assert_eq!(next_prime(65_538), 65_539);
        assert_eq!(next_prime(7), 7);
    }

    #[test]
    fn sizes_follow_backends_and_weights() {
        let backends = |weights: &[u16]| {
            size_needed(weights.iter().map(|&weight| Candidate { name: "", weight }))
        };
        let rows: &[(&str, u64, u64, u32)] = &[
            ("none", backends(&[]), 0, 1_021),
            ("ten", backends(&[1; 10]), 1_000, 1_021),
            ("eleven", backends(&[3; 11]), 1_100, 4_093),
            ("weight 0 counts", backends(&[1, 0, 0]), 300, 1_021),
            ("a small weight beside large ones", backends(&[1, 2_000, 2_000]), 4_001, 4_093),
            ("655, the most of the largest", backends(&[1; 655]), 65_500, 65_537),
            ("more than the largest is good for", backends(&[1; 1_000]), 100_000, 65_537),
            ("only weight 0", backends(&[0, 0]), 200, 1_021),
        ];
        for &(description, needed, wanted_needed, wanted_size) in rows {
            assert_eq!((needed, size_for(needed)), (wanted_needed, wanted_size), "{description}");
        }
    }
}
