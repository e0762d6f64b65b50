//! How long a failed attempt rests: full jitter, `rand(0, min(60 s, 0.5 s · 2ⁿ))`.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// The ceiling doubles from here.
const FIRST: Duration = Duration::from_millis(500);
/// No rest is longer.
const CEILING: Duration = Duration::from_mins(1);

/// The longest rest after `failures` earlier failures of the same archive.
pub(crate) fn ceiling(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(CEILING)
}

/// A random rest from nothing to [`ceiling`]: full jitter spreads workers that failed together.
pub(crate) fn rest(failures: u32, rng: &mut dyn Rng) -> Duration {
    ceiling(failures).mul_f64(rng.random::<f64>())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_ceiling_doubles_from_half_a_second_to_a_minute() {
        let seconds: Vec<f64> = (0..9).map(|n| ceiling(n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!(ceiling(u32::MAX), CEILING);
    }

    #[test]
    fn the_jitter_is_full() {
        let mut rng = StdRng::seed_from_u64(7);
        let rests: Vec<f64> = (0..10_000).map(|_| rest(3, &mut rng).as_secs_f64()).collect();
        let mean = rests.iter().sum::<f64>() / 10_000.0;
        assert!(rests.iter().all(|rest| (0.0..=4.0).contains(rest)));
        assert!(rests.iter().any(|rest| *rest < 0.1) && rests.iter().any(|rest| *rest > 3.9));
        assert!((mean - 2.0).abs() < 0.1, "{mean}");
    }
}
