//! Shares with their bounds, and medians.

/// The bounds between which a share lies with 95 % certainty, seen `share` in `trials` (Wilson's score
/// interval).
pub fn bounds(share: f64, trials: usize) -> [f64; 2] {
    const Z: f64 = 1.959_964;
    let n = trials.max(1) as f64;
    let middle = share + Z * Z / (2.0 * n);
    let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(middle - reach), (middle + reach)].map(|bound| round((bound / (1.0 + Z * Z / n)).clamp(0.0, 1.0)))
}

/// To five digits.
pub fn round(share: f64) -> f64 {
    (share * 1e5).round() / 1e5
}

/// The middle value: of an even number of values, the larger one of the two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
