//! Dates, instants and local times, as the database keeps them, people write them and the API shows them; and the
//! zones they are in. What is done with them is jiff's.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, RangeInclusive};
use std::str::FromStr;

use anyhow::Context;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::PgRecordDecoder;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef, Postgres};
use sqlx::{Decode, Encode, Type};

use crate::error::{Error, Problem};

/// The years that anybody may mean.
const YEARS: RangeInclusive<i16> = 1900..=2199;

/// One of jiff's types, which the database keeps.
macro_rules! stored {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl Deref for $name {
            type Target = $inner;

            fn deref(&self) -> &$inner {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(inner: $inner) -> Self {
                Self(inner)
            }
        }

        impl Type<Postgres> for $name {
            fn type_info() -> PgTypeInfo {
                jiff_sqlx::$name::type_info()
            }
        }

        impl PgHasArrayType for $name {
            fn array_type_info() -> PgTypeInfo {
                jiff_sqlx::$name::array_type_info()
            }
        }

        impl Encode<'_, Postgres> for $name {
            fn encode_by_ref(&self, into: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                jiff_sqlx::$name::from(self.0).encode_by_ref(into)
            }
        }

        impl Decode<'_, Postgres> for $name {
            fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
                Ok(Self(jiff_sqlx::$name::decode(value)?.to_jiff()))
            }
        }
    };
}

stored! {
    /// A date: `YYYY-MM-DD`.
    Date(jiff::civil::Date)
}

stored! {
    /// An instant; where somebody writes one, with its offset.
    Timestamp(jiff::Timestamp)
}

/// Why a text is no date.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no date: write YYYY-MM-DD, from {first} to {last}", first = YEARS.start(), last = YEARS.end())]
pub struct NoDate(String);

impl Date {
    /// The last there is.
    pub const MAX: Self = Self(jiff::civil::Date::MAX);

    /// So many days later, or earlier; the first or the last there is where that is beyond.
    pub fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days.days()))
    }

    /// All dates from this one to another.
    pub fn through(self, last: Self) -> impl Iterator<Item = Self> {
        self.0.series(1.day()).map(Self).take_while(move |date| *date <= last)
    }

    /// How many days later another date is.
    pub fn days_until(self, other: Self) -> i32 {
        self.0.until(other.0).map_or(i32::MAX, |span| span.get_days())
    }

    /// When it begins in a zone.
    pub fn begins(self, zone: &TimeZone) -> anyhow::Result<Timestamp> {
        Ok(self.0.to_zoned(zone.clone())?.timestamp().into())
    }
}

impl FromStr for Date {
    type Err = NoDate;

    fn from_str(text: &str) -> Result<Self, NoDate> {
        let shaped = text.len() == 10
            && text.bytes().enumerate().all(|(i, byte)| match i {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        let date =
            text.parse().ok().filter(|date: &jiff::civil::Date| shaped && YEARS.contains(&date.year()));
        date.map(Self).ok_or_else(|| NoDate(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Timestamp {
    /// So many seconds after 1970, which a test writes.
    #[cfg(test)]
    pub fn from_second(second: i64) -> Self {
        Self(jiff::Timestamp::from_second(second).expect("a time"))
    }

    /// The local date in a zone.
    pub fn date_in(self, zone: &TimeZone) -> Date {
        zone.to_datetime(self.0).date().into()
    }

    /// In a zone.
    pub fn in_zone(self, zone: &TimeZone) -> Zoned {
        Zoned(self.0.to_zoned(zone.clone()))
    }

    /// So much later, or earlier; the first or the last there is where that is beyond.
    pub fn plus(self, span: Span) -> Self {
        let beyond = if span.is_negative() { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        self.0.checked_add(span).unwrap_or(beyond).into()
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let at = jiff::Timestamp::deserialize(from)?;
        let (first, last) = (YEARS.start(), YEARS.end());
        let meant = YEARS.contains(&at.to_zoned(TimeZone::UTC).year());
        meant
            .then_some(Self(at))
            .ok_or_else(|| D::Error::custom(format!("{at}: a time from {first} to {last}")))
    }
}

/// An instant in a zone. It is written as local time with its offset, to the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zoned(pub jiff::Zoned);

impl Zoned {
    /// The `HH:MM:SS`.
    pub fn time_of_day(&self) -> String {
        self.0.strftime("%H:%M:%S").to_string()
    }
}

impl fmt::Display for Zoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.strftime("%Y-%m-%dT%H:%M:%S%:z").fmt(f)
    }
}

impl Serialize for Zoned {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(self)
    }
}

impl Type<Postgres> for Zoned {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("zoned")
    }
}

impl Decode<'_, Postgres> for Zoned {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let mut pair = PgRecordDecoder::new(value)?;
        let at: Timestamp = pair.try_decode()?;
        Ok(at.in_zone(&zone(&pair.try_decode::<String>()?)?))
    }
}

/// Two dates, the second not before the first, of at most so many days together.
pub fn range(from: Date, to: Date, most: i32) -> Result<(Date, Date), Error> {
    if from > to {
        return Err(Problem::IntervalReversed { from: from.0, to: to.0 }.of("from"));
    }
    if from.days_until(to) >= most {
        return Err(Problem::IntervalTooLong { days: most }.of("to"));
    }
    Ok((from, to))
}

/// A zone of the database. The last one is kept: reports ask for the same one for each of their times.
pub fn zone(name: &str) -> anyhow::Result<TimeZone> {
    thread_local! {
        static LAST: RefCell<Option<(String, TimeZone)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((known, zone)) if known == name => Ok(zone.clone()),
        _ => {
            let zone = TimeZone::get(name).with_context(|| format!("there is no time zone {name:?}"))?;
            *last = Some((name.to_owned(), zone.clone()));
            Ok(zone)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Date, serde_json::Error> {
        serde_json::from_value(serde_json::json!(text))
    }

    #[test]
    fn a_date_is_written_in_one_way() {
        assert_eq!(read("2025-03-03").expect("a date"), Date(jiff::civil::date(2025, 3, 3)));
        for wrong in [
            "",
            "2025-3-3",
            "20250303",
            "2025-02-30",
            "2025-03-03T09:00",
            "1899-12-31",
            "2200-01-01",
            "-025-03-03",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_instant_is_of_our_times() {
        let read = |text: &str| serde_json::from_value::<Timestamp>(serde_json::json!(text)).is_ok();
        assert!(read("2025-03-03T09:00:00+01:00"));
        assert!(!read("0001-01-01T00:00:00Z") && !read("-009998-01-01T00:00:00Z") && !read("2025-03-03"));
    }

    #[test]
    fn a_range_has_an_order_and_an_end() {
        let day = |text: &str| read(text).expect("a date");
        assert!(range(day("2025-01-01"), day("2025-12-31"), 365).is_ok());
        assert!(range(day("2025-01-01"), day("2026-01-01"), 365).is_err());
        assert!(range(day("2025-01-02"), day("2025-01-01"), 365).is_err());
    }
}
