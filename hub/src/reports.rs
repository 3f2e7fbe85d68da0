//! What came in and what it means, for those who may see it. Every look is audited.
//!
//! A report is a table that is read page by page, so that none is too long: the next page is asked
//! for when the one before has been sent.

pub mod csv;
pub mod days;
mod exceptions;
pub mod http;
pub mod json;
#[cfg(feature = "pdf")]
pub mod pdf;
mod presence;
mod punctuality;
pub mod silence;
pub mod table;
pub mod timesheet;
mod totals;
pub mod xlsx;

use anyhow::Result;
use sqlx::PgConnection;

use crate::date::Timestamp;
use crate::db::reports::{Filter, Which};
use crate::reports::table::{Column, Cursor, Page, Row, whole};
use crate::text::words;

words! {
    /// Which report.
    pub enum Report {
        /// Everybody's workdays of a date.
        Daily = "daily",
        /// Workdays.
        Timesheet = "timesheet",
        /// Workdays on which somebody came late or went early.
        Lateness = "lateness",
        /// Absences.
        Absence = "absence",
        /// Each person's totals, overtime among them.
        Overtime = "overtime",
        /// What somebody must look at.
        Exceptions = "exceptions",
        /// Who is in now, and who perhaps is.
        Presence = "presence",
        /// How many came late, by day, week or month.
        Punctuality = "punctuality",
        /// Terminals that absences wait for.
        Silence = "silence",
    }
}

words! {
    /// The steps of a trend.
    #[derive(Default)]
    pub enum Step {
        Day = "day",
        /// Weeks from Monday.
        #[default]
        Week = "week",
        Month = "month",
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which report.
    pub report: Report,
    /// Whose, and of which dates.
    pub filter: Filter,
    /// The steps of the trend.
    pub step: Step,
    /// Seconds within which a punch is a duplicate.
    pub duplicate_within_s: u32,
    /// What counts as now.
    pub now: Timestamp,
}

impl Report {
    /// Its name as people read it.
    #[cfg(feature = "pdf")]
    pub fn title(self) -> String {
        let mut letters = self.as_str().chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    }

    /// Its columns.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Daily | Self::Timesheet | Self::Lateness | Self::Absence => days::Day::COLUMNS,
            Self::Overtime => totals::Totals::COLUMNS,
            Self::Exceptions => exceptions::Exception::COLUMNS,
            Self::Presence => presence::Present::COLUMNS,
            Self::Punctuality => punctuality::Trend::COLUMNS,
            Self::Silence => silence::Silent::COLUMNS,
        }
    }
}

impl Question {
    /// A page of the answer: at most so many rows, from behind a place on.
    pub async fn page(&self, conn: &mut PgConnection, after: Option<&Cursor>, most: i64) -> Result<Page> {
        let Self { filter, now, .. } = self;
        match self.report {
            Report::Daily | Report::Timesheet => {
                days::page(conn, filter, Which::All, after, most, *now).await
            }
            Report::Lateness => days::page(conn, filter, Which::Late, after, most, *now).await,
            Report::Absence => days::page(conn, filter, Which::Absent, after, most, *now).await,
            Report::Overtime => totals::page(conn, filter, after, most, *now).await,
            Report::Exceptions => exceptions::page(conn, filter, after, most).await,
            Report::Presence => presence::page(conn, filter, self.duplicate_within_s, *now).await,
            Report::Silence => Ok(whole(silence::silent(conn, filter, *now).await?)),
            Report::Punctuality => punctuality::page(conn, filter, self.step.as_str(), *now).await,
        }
    }
}
