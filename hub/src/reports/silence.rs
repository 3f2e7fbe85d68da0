//! Terminals that have not said what they saw, and how many absences hang on that (rule 12).

use anyhow::Result;
use sqlx::PgConnection;

use crate::date::{Timestamp, Zoned};
use crate::db::reports::{self, Filter};
use crate::reports::table::row;

row! {
    /// A terminal that absences wait for.
    pub struct Silent {
        site: String,
        terminal: String,
        /// Up to when it has reported.
        silent_since: Option<Zoned>,
        /// Those that are provisional as long as it says nothing.
        absences: i64,
        pub notice: String = String::new(),
    }
}

/// All terminals that absences of some dates wait for.
pub async fn silent(conn: &mut PgConnection, filter: &Filter, now: Timestamp) -> Result<Vec<Silent>> {
    let mut rows: Vec<Silent> = reports::silent(conn, filter, now).await?;
    for row in &mut rows {
        row.notice = notice(&row.terminal, row.silent_since.as_ref(), row.absences);
    }
    Ok(rows)
}

fn notice(terminal: &str, since: Option<&Zoned>, absences: i64) -> String {
    let silent = match since {
        Some(since) => format!("has not reported since {}", since.0.strftime("%Y-%m-%d %H:%M")),
        None => "has not reported since it was accepted".to_owned(),
    };
    let absences = if absences == 1 { "1 absence".to_owned() } else { format!("{absences} absences") };
    format!("{terminal} {silent}: {absences} provisional")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_a_sentence() {
        let since = Zoned("2025-03-03T08:10[Europe/Berlin]".parse().expect("a time"));
        let said = "Terminal 3 has not reported since 2025-03-03 08:10: 14 absences provisional";
        assert_eq!(notice("Terminal 3", Some(&since), 14), said);
        let said = "Gate has not reported since it was accepted: 1 absence provisional";
        assert_eq!(notice("Gate", None, 1), said);
    }
}
