//! A report as a table: columns that know what they hold, rows that come in pages.

use std::collections::HashMap;

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Words.
    Text,
    /// Words that may be several, separated by semicolons in a cell.
    List,
    /// A date.
    Date,
    /// A local time with its offset.
    Time,
    /// A length of time in seconds.
    Seconds,
    /// A number.
    Count,
    /// Yes or no.
    Truth,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name in JSON and CSV.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// A column.
pub const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

impl Column {
    /// Its heading for people: `worked_s` is `Worked`.
    pub fn heading(&self) -> String {
        let words = self.name.strip_suffix("_s").unwrap_or(self.name).replace('_', " ");
        let mut letters = words.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing is known.
    Empty,
    /// Words.
    Text(String),
    /// Several words.
    List(Vec<String>),
    /// A date.
    Date(Date),
    /// A local time: its text with the offset, and as the clock on the wall showed it.
    Time(String, jiff::civil::DateTime),
    /// A number, or seconds.
    Count(i64),
    /// Yes or no.
    Truth(bool),
}

impl Cell {
    /// Seconds or a number, if known.
    pub fn count(number: Option<i32>) -> Self {
        number.map_or(Self::Empty, |number| Self::Count(number.into()))
    }

    /// Words, if there are any.
    pub fn text(text: Option<String>) -> Self {
        text.filter(|text| !text.is_empty()).map_or(Self::Empty, Self::Text)
    }

    /// What CSV writes.
    pub fn plain(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) | Self::Time(text, _) => text.clone(),
            Self::List(words) => words.join(";"),
            Self::Date(date) => date.to_string(),
            Self::Count(number) => number.to_string(),
            Self::Truth(truth) => if *truth { "yes" } else { "no" }.to_owned(),
        }
    }
}

/// A page of rows, and where the next one begins.
pub struct Page {
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
    /// Where to go on; the end where there is nothing.
    pub next: Option<Cursor>,
}

/// A place in a report, as handed out and taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Vec<String>);

impl Cursor {
    /// As a URL can carry it.
    pub fn write(&self) -> String {
        hex::encode(serde_json::to_vec(&self.0).unwrap_or_default())
    }

    /// Reads what [`Cursor::write`] wrote.
    pub fn read(text: &str) -> Result<Self> {
        let bytes = hex::decode(text).ok().context("take it from the answer before")?;
        serde_json::from_slice(&bytes).map(Self).ok().context("take it from the answer before")
    }
}

/// Zones by name, each looked up once.
#[derive(Default)]
pub struct Zones(HashMap<String, TimeZone>);

impl Zones {
    /// An instant as the wall clock of a zone shows it.
    pub fn cell(&mut self, at: Option<Timestamp>, zone: &str) -> Result<Cell> {
        let Some(at) = at else { return Ok(Cell::Empty) };
        if !self.0.contains_key(zone) {
            let known = TimeZone::get(zone).with_context(|| format!("there is no time zone {zone:?}"))?;
            self.0.insert(zone.to_owned(), known);
        }
        let zoned = at.to_zoned(self.0[zone].clone());
        Ok(Cell::Time(zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(), zoned.datetime()))
    }
}
