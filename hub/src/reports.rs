//! What came in and what it means, for those who may see it. Every look is audited.
//!
//! A report is a table that is read page by page, so that none is too long: the next page is asked
//! for when the one before has been sent.

pub mod csv;
mod days;
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
use jiff::Timestamp;
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::db::reports::{Filter, Which};
use crate::reports::table::{Column, Cursor, Page};

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Everybody's workdays of a date.
    Daily,
    /// Workdays.
    Timesheet,
    /// Workdays on which somebody came late or went early.
    Lateness,
    /// Absences.
    Absence,
    /// Each person's totals, overtime among them.
    Overtime,
    /// What somebody must look at.
    Exceptions,
    /// Who is in now, and who perhaps is.
    Presence,
    /// How many came late, by day, week or month.
    Punctuality,
    /// Terminals that absences wait for.
    Silence,
}

/// The steps of a trend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Days.
    Day,
    /// Weeks from Monday.
    #[default]
    Week,
    /// Months.
    Month,
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
    /// Its name, in files and in the audit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Timesheet => "timesheet",
            Self::Lateness => "lateness",
            Self::Absence => "absence",
            Self::Overtime => "overtime",
            Self::Exceptions => "exceptions",
            Self::Presence => "presence",
            Self::Punctuality => "punctuality",
            Self::Silence => "silence",
        }
    }

    /// Its name as people read it.
    #[cfg(feature = "pdf")]
    pub fn title(self) -> String {
        let mut letters = self.name().chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    }

    /// Its columns.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Daily | Self::Timesheet | Self::Lateness | Self::Absence => days::COLUMNS,
            Self::Overtime => totals::COLUMNS,
            Self::Exceptions => exceptions::COLUMNS,
            Self::Presence => presence::COLUMNS,
            Self::Punctuality => punctuality::COLUMNS,
            Self::Silence => silence::COLUMNS,
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
            Report::Silence => silence::page(conn, filter, *now).await,
            Report::Punctuality => {
                let step = match self.step {
                    Step::Day => "day",
                    Step::Week => "week",
                    Step::Month => "month",
                };
                punctuality::page(conn, filter, step, *now).await
            }
        }
    }
}
