//! Terminals that have not said what they saw, and how many absences hang on that (rule 12).

use anyhow::Result;
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::db::reports::{self, Filter, SilentRow};
use crate::reports::table::{Cell, Column, Kind, Page, Zones, column};

/// The columns.
pub const COLUMNS: &[Column] = &[
    column("site", Kind::Text),
    column("terminal", Kind::Text),
    column("silent_since", Kind::Time),
    column("absences", Kind::Count),
    column("notice", Kind::Text),
];

/// All terminals that absences of some dates wait for.
pub async fn page(conn: &mut PgConnection, filter: &Filter, now: Timestamp) -> Result<Page> {
    let mut zones = Zones::default();
    let rows = reports::silent(conn, filter, now).await?;
    Ok(Page { rows: rows.into_iter().map(|row| cells(row, &mut zones)).collect::<Result<_>>()?, next: None })
}

/// The sentences alone, for a page.
pub async fn notices(conn: &mut PgConnection, filter: &Filter, now: Timestamp) -> Result<Vec<String>> {
    let page = page(conn, filter, now).await?;
    Ok(page.rows.into_iter().filter_map(|row| row.last().map(Cell::plain)).collect())
}

fn cells(row: SilentRow, zones: &mut Zones) -> Result<Vec<Cell>> {
    let since = zones.cell(row.since.map(jiff_sqlx::Timestamp::to_jiff), &row.zone)?;
    let notice = notice(&row.terminal, &since, row.absences);
    Ok(vec![
        Cell::Text(row.site),
        Cell::Text(row.terminal),
        since,
        Cell::Count(row.absences),
        Cell::Text(notice),
    ])
}

fn notice(terminal: &str, since: &Cell, absences: i64) -> String {
    let silent = match since {
        Cell::Time(_, wall) => format!("silent since {}", wall.strftime("%Y-%m-%d %H:%M")),
        _ => "silent since it was accepted".to_owned(),
    };
    let absences = if absences == 1 { "1 absence".to_owned() } else { format!("{absences} absences") };
    format!("{terminal} {silent}: {absences} provisional")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_a_sentence() {
        let at: Timestamp = "2025-03-03T07:10:00Z".parse().expect("a time");
        let since = Zones::default().cell(Some(at), "Europe/Berlin").expect("a zone");
        let said = "Terminal 3 silent since 2025-03-03 08:10: 14 absences provisional";
        assert_eq!(notice("Terminal 3", &since, 14), said);
        let said = "Gate silent since it was accepted: 1 absence provisional";
        assert_eq!(notice("Gate", &Cell::Empty, 1), said);
    }
}
