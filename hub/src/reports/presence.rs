//! Who is in, now: from the doors alone, before any shift is looked at. Also the fire list, so that in doubt
//! somebody is in it: whoever may be inside without the punches saying so stands below, as perhaps in.

use anyhow::Result;
use attendance::{ClockState, Direction, Punch, deduplicate};
use jiff::{SignedDuration, Timestamp, ToSpan};
use sqlx::PgConnection;

use crate::db::reports::{self, Filter, RecentRow};
use crate::reports::table::{Cell, Column, Kind, Page, Zones, column};

/// Whoever was seen longer ago than this is not here any more.
const SEEN_H: i64 = 24;
/// Punches without a direction turn each other round for so long: the longest shift with some overtime.
const TURN: SignedDuration = SignedDuration::from_hours(16);

/// The columns. `since` is when and `terminal` where somebody came; of somebody who perhaps is in, when and
/// where they were last seen.
pub const COLUMNS: &[Column] = &[
    column("number", Kind::Text),
    column("name", Kind::Text),
    column("department", Kind::Text),
    column("site", Kind::Text),
    column("since", Kind::Time),
    column("terminal", Kind::Text),
    column("presence", Kind::Text),
];

/// What the punches of somebody say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Presence {
    /// In.
    In,
    /// Nothing says that they have gone, but for an even number of punches or their age.
    PerhapsIn,
}

impl Presence {
    fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::PerhapsIn => "perhaps in",
        }
    }
}

/// Everybody who is in, then everybody who perhaps is.
pub async fn page(conn: &mut PgConnection, filter: &Filter, within_s: u32, now: Timestamp) -> Result<Page> {
    let recent = reports::recent(conn, filter, (now.checked_sub(SEEN_H.hours())?, now)).await?;
    let of_person = recent.chunk_by(|one, other| one.number == other.number);
    let mut found: Vec<_> =
        of_person.filter_map(|rows| whereabouts(rows, i64::from(within_s), now)).collect();
    // Whoever is inside here counts here, and whoever belongs here is missed here.
    let asked =
        |row: &RecentRow| filter.site.as_ref().is_none_or(|site| [&row.site, &row.place].contains(&site));
    found.retain(|(_, row)| asked(row));
    found.sort_by_key(|(presence, _)| *presence); // and those of each by number, as they came
    let mut zones = Zones::default();
    let rows = found.into_iter().map(|(presence, row)| cells(presence, row, &mut zones));
    Ok(Page { rows: rows.collect::<Result<_>>()?, next: None })
}

fn cells(presence: Presence, row: &RecentRow, zones: &mut Zones) -> Result<Vec<Cell>> {
    Ok(vec![
        Cell::Text(row.number.clone()),
        Cell::Text(row.name.clone()),
        Cell::text(row.department.clone()),
        Cell::Text(row.site.clone()),
        zones.cell(Some(row.at.to_jiff()), &row.zone)?,
        Cell::Text(row.terminal.clone()),
        Cell::Text(presence.as_str().to_owned()),
    ])
}

/// Whether somebody is in, or may be, and the punch that says so. Rows are those of one person, by time.
fn whereabouts(rows: &[RecentRow], within_s: i64, now: Timestamp) -> Option<(Presence, &RecentRow)> {
    let punch = |(index, row): (usize, &RecentRow)| {
        let direction = Direction::read(&row.direction);
        // The index stands in for the terminal: it only has to come back.
        Punch::new(row.at.to_jiff(), direction, index.to_string().into(), ClockState::Synchronised)
    };
    let kept = deduplicate(rows.iter().enumerate().map(punch).collect(), within_s).kept;
    let last = kept.last()?;
    let turns = now.saturating_sub(TURN).ok()?.as_second();
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
    use jiff_sqlx::ToSqlx;

    use super::*;

    const NOW: i64 = 24 * 3600;

    fn rows(punches: &[(i64, &str)]) -> Vec<RecentRow> {
        let row = |(at, direction): &(i64, &str)| RecentRow {
            number: "1".into(),
            name: "Ada".into(),
            department: None,
            site: "Main".into(),
            zone: "UTC".into(),
            at: Timestamp::from_second(*at).expect("a time").to_sqlx(),
            direction: (*direction).to_owned(),
            terminal: "Gate".into(),
            place: "Main".into(),
        };
        punches.iter().map(row).collect()
    }

    /// What the punches say a day later, and since when.
    fn said(punches: &[(i64, &str)]) -> Option<(&'static str, i64)> {
        let rows = rows(punches);
        let now = Timestamp::from_second(NOW).expect("a time");
        let (presence, row) = whereabouts(&rows, 60, now)?;
        Some((presence.as_str(), row.at.to_jiff().as_second()))
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
