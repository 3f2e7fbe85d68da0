//! A report as a table: columns that know what they hold, rows that come in pages.

use anyhow::{Context, Result};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::date::{self, Date, Timestamp, Zoned};
use crate::db::workdays::Status;
use crate::person::PersonNumber;

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
    Bool,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name in JSON and CSV.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

impl Column {
    /// The column of a field. Numbers whose name ends in `_s` are seconds.
    pub const fn of<T: Value>(name: &'static str) -> Self {
        let kind = match (T::KIND, name.as_bytes()) {
            (Kind::Count, [.., b'_', b's']) => Kind::Seconds,
            (kind, _) => kind,
        };
        Self { name, kind }
    }

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
    /// A local time.
    Time(Zoned),
    /// A number, or seconds.
    Count(i64),
    /// Yes or no.
    Bool(bool),
}

impl Cell {
    /// What CSV writes.
    pub fn plain(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text.clone(),
            Self::Time(at) => at.to_string(),
            Self::List(words) => words.join(";"),
            Self::Date(date) => date.to_string(),
            Self::Count(number) => number.to_string(),
            Self::Bool(truth) => if *truth { "yes" } else { "no" }.to_owned(),
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

/// What a field of a row holds, how it is read and how it becomes a cell.
pub trait Value: Sized + Into<Cell> {
    const KIND: Kind;

    /// The column of a row that the database answered with.
    fn read(row: &PgRow, name: &str) -> sqlx::Result<Option<Self>>;
}

macro_rules! values {
    ($($type:ty, $kind:ident, $value:pat => $cell:expr;)+) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::$kind;

            fn read(row: &PgRow, name: &str) -> sqlx::Result<Option<Self>> {
                row.try_get(name)
            }
        }

        impl From<$type> for Cell {
            fn from($value: $type) -> Self {
                $cell
            }
        }
    )+};
}

values! {
    String, Text, text => Self::Text(text);
    PersonNumber, Text, number => Self::Text(number.into());
    Status, Text, status => Self::Text(status.to_string());
    Vec<String>, List, words => Self::List(words);
    Date, Date, date => Self::Date(date);
    i32, Count, number => Self::Count(number.into());
    i64, Count, number => Self::Count(number);
    bool, Bool, truth => Self::Bool(truth);
}

impl Value for Zoned {
    const KIND: Kind = Kind::Time;

    /// In the zone of the column `zone`: as the type `zoned` of the database, it would take twice as long.
    fn read(row: &PgRow, name: &str) -> sqlx::Result<Option<Self>> {
        let Some(at) = row.try_get::<Option<Timestamp>, _>(name)? else { return Ok(None) };
        let zone = date::zone(row.try_get("zone")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Some(at.in_zone(&zone)))
    }
}

impl From<Zoned> for Cell {
    fn from(at: Zoned) -> Self {
        Self::Time(at)
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;

    fn read(row: &PgRow, name: &str) -> sqlx::Result<Option<Self>> {
        T::read(row, name).map(Some)
    }
}

impl<T: Value> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, T::into)
    }
}

/// A field of a row, read from the database.
pub fn field<T: Value>(row: &PgRow, name: &str) -> sqlx::Result<T> {
    T::read(row, name)?.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: name.to_owned(),
        source: sqlx::error::UnexpectedNullError.into(),
    })
}

/// A row of a report: its fields are the columns.
pub trait Row {
    const COLUMNS: &'static [Column];

    fn cells(self) -> Vec<Cell>;
}

/// Makes a struct a [`Row`] that the database can read. A field with a value is not read, but filled in later.
macro_rules! row {
    (@read $from:ident $field:ident) => {
        $crate::reports::table::field($from, stringify!($field))?
    };
    (@read $from:ident $field:ident $value:expr) => {
        $value
    };
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$doc:meta])* $vis:vis $field:ident: $type:ty $(= $value:expr)?,)+
    }) => {
        $(#[$meta])*
        #[allow(clippy::struct_field_names, reason = "the names are those of columns")]
        pub struct $name { $($(#[$doc])* $vis $field: $type,)+ }

        impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for $name {
            fn from_row(row: &sqlx::postgres::PgRow) -> sqlx::Result<Self> {
                Ok(Self { $($field: $crate::reports::table::row!(@read row $field $($value)?)),+ })
            }
        }

        impl $crate::reports::table::Row for $name {
            const COLUMNS: &'static [$crate::reports::table::Column] =
                &[$($crate::reports::table::Column::of::<$type>(stringify!($field))),+];

            fn cells(self) -> Vec<$crate::reports::table::Cell> {
                vec![$(self.$field.into()),+]
            }
        }
    };
}
pub(crate) use row;

/// Rows as the cells of the last page.
pub fn whole<R: Row>(rows: Vec<R>) -> Page {
    Page { rows: rows.into_iter().map(R::cells).collect(), next: None }
}
