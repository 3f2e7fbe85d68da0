//! Who is in, now: from the doors alone, before any shift is looked at. Also the fire list, so that in doubt
//! somebody is in it: whoever may be inside without the punches saying so stands below, as perhaps in.

use anyhow::Result;
use attendance::{ClockState, Direction, Punch, deduplicate};
use jiff::ToSpan;
use sqlx::{FromRow, PgConnection};

use crate::date::{Timestamp, Zoned};
use crate::db::punches;
use crate::db::reports::{self, Filter};
use crate::person::PersonNumber;
use crate::reports::table::{Page, row, whole};
use crate::text::words;

/// Whoever was seen longer ago than this is not here any more.
const SEEN_H: i64 = 24;
/// Punches without a direction turn each other round for so long: the longest shift with some overtime.
const TURN_H: i64 = 16;

row! {
    /// Somebody who is in, or perhaps is. `since` is when and `terminal` where they came; of somebody who perhaps is
    /// in, when and where they were last seen.
    #[derive(Clone)]
    pub struct Present {
        number: PersonNumber,
        name: String,
        department: Option<String>,
        site: String,
        since: Zoned,
        terminal: String,
        presence: String = String::new(),
    }
}

/// A recent punch.
#[derive(FromRow)]
struct Recent {
    #[sqlx(flatten)]
    whose: Present,
    at: Timestamp,
    direction: punches::Direction,
    /// The terminal's site.
    place: String,
}

words! {
    /// What the punches of somebody say.
    pub enum Presence {
        In = "in",
        /// Nothing says that they have gone, but for an even number of punches or their age.
        PerhapsIn = "perhaps in",
    }
}

/// Everybody who is in, then everybody who perhaps is.
pub async fn page(conn: &mut PgConnection, filter: &Filter, within_s: u32, now: Timestamp) -> Result<Page> {
    let recent: Vec<Recent> = reports::recent(conn, filter, (now.plus(-SEEN_H.hours()), now)).await?;
    let of_person = recent.chunk_by(|one, other| one.whose.number == other.whose.number);
    let mut found: Vec<_> =
        of_person.filter_map(|rows| whereabouts(rows, i64::from(within_s), now)).collect();
    // Whoever is inside here counts here, and whoever belongs here is missed here.
    let here = |row: &Recent, site| [&row.whose.site, &row.place].contains(&site);
    found.retain(|(_, row)| filter.site.as_ref().is_none_or(|site| here(row, site)));
    found.sort_by_key(|(presence, _)| *presence); // and those of each by number, as they came
    let rows = found
        .into_iter()
        .map(|(presence, row)| Present { presence: presence.to_string(), ..row.whose.clone() });
    Ok(whole(rows.collect()))
}

/// Whether somebody is in, or may be, and the punch that says so. Rows are those of one person, by time.
fn whereabouts(rows: &[Recent], within_s: i64, now: Timestamp) -> Option<(Presence, &Recent)> {
    let punch = |(index, row): (usize, &Recent)| {
        let direction = row.direction.into();
        // The index stands in for the terminal: it only has to come back.
        Punch::new(row.at.0, direction, index.to_string().into(), ClockState::Synchronised)
    };
    let kept = deduplicate(rows.iter().enumerate().map(punch).collect(), within_s).kept;
    let last = kept.last()?;
    let turns = now.plus(-TURN_H.hours()).as_second();
    let recent = kept.partition_point(|punch| punch.at <= turns);
    let came = match last.direction {
        Direction::Out => return None,
        Direction::In => came(&kept[recent.min(kept.len() - 1)..]),
        Direction::Unknown => came(&kept[recent..]),
    };
    let row = |punch: &Punch| rows.get(punch.terminal.parse::<usize>().ok()?);
    match came {
        Some(punch) => Some((Presence::In, row(punch)?)),
        None => Some((Presence::PerhapsIn, row(last)?)),
    }
}

/// The punch by which somebody came who has not gone: an explicit direction says which way, any other
/// punch turns it round.
fn came(punches: &[Punch]) -> Option<&Punch> {
    punches.iter().fold(None, |came, punch| match punch.direction {
        Direction::In => came.or(Some(punch)),
        Direction::Out => None,
        Direction::Unknown => {
            if came.is_none() {
                Some(punch)
            } else {
                None
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    const NOW: i64 = 24 * 3600;

    fn rows(punches: &[(i64, &str)]) -> Vec<Recent> {
        let row = |(at, direction): &(i64, &str)| {
            let at = Timestamp::from_second(*at);
            let whose = Present {
                number: "1".into(),
                name: "Ada".into(),
                department: None,
                site: "Main".into(),
                since: at.in_zone(&TimeZone::UTC),
                terminal: "Gate".into(),
                presence: String::new(),
            };
            Recent { whose, at, direction: direction.parse().expect("a direction"), place: "Main".into() }
        };
        punches.iter().map(row).collect()
    }

    /// What the punches say a day later, and since when.
    fn said(punches: &[(i64, &str)]) -> Option<(&'static str, i64)> {
        let rows = rows(punches);
        let now = Timestamp::from_second(NOW);
        let (presence, row) = whereabouts(&rows, 60, now)?;
        Some((presence.as_str(), row.at.as_second()))
    }

    #[test]
    fn doors_say_who_is_in() {
        let hours = |h: i64| NOW - h * 3600;
        let (early, later) = (hours(8), hours(7));
        assert_eq!(said(&[(early, "unknown")]), Some(("in", early)));
        assert_eq!(said(&[(early, "unknown"), (early + 30, "unknown")]), Some(("in", early)));
        let three = [(early, "unknown"), (later, "unknown"), (hours(6), "unknown")];
        assert_eq!(said(&three), Some(("in", hours(6))));
        assert_eq!(said(&[(early, "in"), (later, "in")]), Some(("in", early)));
        assert_eq!(said(&[(early, "in"), (later, "out")]), None);
        assert_eq!(said(&[(early, "in")]), Some(("in", early)));
        assert_eq!(said(&[(early, "out")]), None);
        assert_eq!(said(&[(early, "out"), (later, "unknown")]), Some(("in", later)));
        assert_eq!(said(&[]), None);
    }

    #[test]
    fn who_may_be_in_is_perhaps_in() {
        let hours = |h: i64| NOW - h * 3600;
        // Two doors on the way in, or in and out: nobody knows.
        assert_eq!(said(&[(hours(8), "unknown"), (hours(7), "unknown")]), Some(("perhaps in", hours(7))));
        assert_eq!(said(&[(hours(8), "in"), (hours(7), "unknown")]), Some(("perhaps in", hours(7))));
        // Not yesterday's last punch makes today's first one the second.
        assert_eq!(said(&[(hours(18), "unknown"), (hours(2), "unknown")]), Some(("in", hours(2))));
        assert_eq!(said(&[(hours(18), "unknown")]), Some(("perhaps in", hours(18))));
        assert_eq!(said(&[(hours(18), "unknown"), (hours(2), "in")]), Some(("in", hours(2))));
        // Who said that they came is in until they say that they go, or a day has passed.
        assert_eq!(said(&[(hours(18), "in")]), Some(("in", hours(18))));
    }
}
