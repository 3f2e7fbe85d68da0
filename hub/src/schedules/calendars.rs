//! Calendars of holidays. Sites follow them.

use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::date::Date;
use crate::db;
use crate::db::recompute_queue::Whose;
use crate::db::sites::Holiday;
use crate::error::{Error, Problem, check_text};
use crate::schedules::{Change, Dates, Effect, Touched};
use crate::text::{SHORT_NAME, ShortNameText};

/// What a holiday is called.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HolidaySetting {
    /// Such as "Christmas Day".
    #[schema(value_type = ShortNameText)]
    name: String,
}

/// All calendars, by name.
pub async fn calendars(pool: &PgPool) -> Result<Vec<String>, Error> {
    Ok(db::sites::calendars(&mut *pool.acquire().await?).await?)
}

/// The holidays of a calendar, by date.
pub async fn holidays(pool: &PgPool, calendar: &str) -> Result<Vec<Holiday>, Error> {
    let mut conn = pool.acquire().await?;
    if !db::sites::calendars(&mut conn).await?.iter().any(|name| name == calendar) {
        return Err(Problem::CalendarUnknown { calendar: calendar.to_owned() }.into());
    }
    Ok(db::sites::holidays(&mut conn, calendar).await?)
}

/// Adds a holiday to a calendar (which is made if it is not there) or calls it something else.
pub async fn put(
    change: &Change<'_>,
    calendar: &str,
    date: Date,
    setting: &HolidaySetting,
) -> Result<Effect, Error> {
    check_text("calendar", calendar, SHORT_NAME)?;
    check_text("name", &setting.name, SHORT_NAME)?;
    let mut transaction = change.begin().await?;
    let before = db::sites::put_holiday(&mut transaction, calendar, date, &setting.name).await?;
    let people =
        change.ask(&mut transaction, Touched::Many(Whose::Calendar(calendar)), Dates::one(date)).await?;
    let detail = json!({"date": date, "name": setting.name, "before": before});
    change.record(&mut transaction, "holiday.put", calendar, detail).await?;
    change.finish(transaction, people).await
}

/// Makes a holiday an ordinary day again.
pub async fn remove(change: &Change<'_>, calendar: &str, date: Date) -> Result<Effect, Error> {
    let mut transaction = change.begin().await?;
    let before = db::sites::drop_holiday(&mut transaction, calendar, date).await?.ok_or_else(|| {
        Error::from(Problem::HolidayUnknown { calendar: calendar.to_owned(), date: date.0 })
    })?;
    let people =
        change.ask(&mut transaction, Touched::Many(Whose::Calendar(calendar)), Dates::one(date)).await?;
    let detail = json!({"date": date, "before": before});
    change.record(&mut transaction, "holiday.remove", calendar, detail).await?;
    change.finish(transaction, people).await
}
