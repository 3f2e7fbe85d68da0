//! Who is in, now: from the doors alone, before any shift is looked at. Also the fire list, so that
//! in doubt somebody is in.

use std::collections::HashMap;

use anyhow::Result;
use jiff::{Timestamp, ToSpan};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::attendance::{ClockState, Direction, Punch, sift};
use crate::reports::table::{Cell, Column, Kind, Page, Zones, column};
use crate::store;
use crate::store::reports::{self, Filter, RecentRow};

/// Whoever came longer ago than this has gone, unseen: the longest shift with some overtime.
const LONGEST_H: i64 = 16;

/// The columns.
pub const COLUMNS: &[Column] = &[
    column("number", Kind::Text),
    column("name", Kind::Text),
    column("department", Kind::Text),
    column("site", Kind::Text),
    column("since", Kind::Time),
    column("terminal", Kind::Text),
];

/// Everybody who is in.
pub async fn page(conn: &mut PgConnection, filter: &Filter, within_s: u32, now: Timestamp) -> Result<Page> {
    let mut recent = reports::recent(conn, now.checked_sub(LONGEST_H.hours())?, now).await?;
    recent.sort_by_key(|row| row.person); // those of one person stay in the order of time
    let inside = inside(&recent, i64::from(within_s));
    let terminals: HashMap<String, String> =
        store::terminals::list(conn).await?.into_iter().map(|one| (one.device, one.name)).collect();
    let mut zones = Zones::default();
    let mut rows = Vec::new();
    for who in reports::people(conn, filter).await? {
        let Some(punch) = inside.get(&who.id) else { continue };
        rows.push(vec![
            Cell::Text(who.number),
            Cell::Text(who.name),
            Cell::text(who.department),
            Cell::Text(who.site),
            zones.cell(Some(punch.at.to_jiff()), &who.zone)?,
            Cell::text(terminals.get(&punch.device).cloned()),
        ]);
    }
    Ok(Page { rows, next: None })
}

/// The punch by which each person who is in came. Rows are by person and time.
fn inside(recent: &[RecentRow], within_s: i64) -> HashMap<Uuid, &RecentRow> {
    let of_person = recent.chunk_by(|one, other| one.person == other.person);
    of_person.filter_map(|rows| Some((rows[0].person, came(rows, within_s)?))).collect()
}

/// The punch by which somebody came who has not gone: an explicit direction says which way, any
/// other punch turns it round.
fn came(rows: &[RecentRow], within_s: i64) -> Option<&RecentRow> {
    if let [only] = rows {
        return (Direction::read(&only.direction) != Direction::Out).then_some(only);
    }
    let punch = |(index, row): (usize, &RecentRow)| {
        let direction = Direction::read(&row.direction);
        // The index stands in for the terminal: it only has to come back.
        Punch::new(row.at.to_jiff(), direction, index.to_string().into(), ClockState::Synchronised)
    };
    let sifted = sift(rows.iter().enumerate().map(punch).collect(), within_s);
    let mut came = None;
    for punch in sifted.kept {
        let comes = match punch.direction {
            Direction::In => true,
            Direction::Out => false,
            Direction::Unknown => came.is_none(),
        };
        came = if comes { came.or_else(|| punch.terminal.parse::<usize>().ok()) } else { None };
    }
    rows.get(came?)
}

#[cfg(test)]
mod tests {
    use jiff_sqlx::ToSqlx;

    use super::*;

    fn rows(punches: &[(i64, &str)]) -> Vec<RecentRow> {
        let row = |(at, direction): &(i64, &str)| RecentRow {
            person: Uuid::nil(),
            at: Timestamp::from_second(*at).expect("a time").to_sqlx(),
            direction: (*direction).to_owned(),
            device: String::new(),
        };
        punches.iter().map(row).collect()
    }

    #[test]
    fn doors_say_who_is_in() {
        let since =
            |punches: &[(i64, &str)]| came(&rows(punches), 60).map(|row| row.at.to_jiff().as_second());
        assert_eq!(since(&[(0, "unknown")]), Some(0));
        assert_eq!(since(&[(0, "unknown"), (30, "unknown")]), Some(0));
        assert_eq!(since(&[(0, "unknown"), (100, "unknown")]), None);
        assert_eq!(since(&[(0, "unknown"), (100, "unknown"), (200, "unknown")]), Some(200));
        assert_eq!(since(&[(0, "in"), (100, "in")]), Some(0));
        assert_eq!(since(&[(0, "in"), (100, "out")]), None);
        assert_eq!(since(&[(0, "in")]), Some(0));
        assert_eq!(since(&[(0, "out")]), None);
        assert_eq!(since(&[(0, "out"), (100, "unknown")]), Some(100));
    }
}
