//! Breaks that come off the hours (rule 5).

use crate::shift::{Minutes, Pairing, Rules};

/// The shortest gap between two closed intervals that counts as a break, in seconds.
pub const SHORTEST_BREAK_S: i64 = 15 * 60;

/// Seconds that come off `closed` seconds of work, of which `taken` seconds of breaks are known.
pub fn of_work(rules: &Rules, closed: i64, taken: i64) -> i64 {
    if !rules.break_rules.is_empty() {
        return by_rules(rules, closed, taken);
    }
    match rules.pairing {
        Pairing::FirstLast => rules.unpaid_break_min.seconds(),
        Pairing::Pairs => 0,
    }
}

/// Seconds that come off a shift of `length` seconds.
pub fn of_shift(rules: &Rules, length: i64) -> i64 {
    if rules.break_rules.is_empty() { rules.unpaid_break_min.seconds() } else { by_rules(rules, length, 0) }
}

/// The most that any rule demands: what is missing from its break, but never so much that the
/// work falls below the hours after which it applies.
fn by_rules(rules: &Rules, worked: i64, taken: i64) -> i64 {
    let demanded = |(after, least): &(_, _)| {
        let (after, least) = (Minutes::seconds(*after), Minutes::seconds(*least));
        (least - taken).min(worked - after)
    };
    rules.break_rules.iter().map(demanded).max().unwrap_or(0).max(0)
}
