//! Sites with their zones, departments, and what is said of terminals.

use anyhow::Result;
use jiff::tz::TimeZone;
use proto::DeviceId;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::date::Timestamp;
use crate::db;
use crate::db::recompute_queue::Whose;
use crate::db::sites::Site;
use crate::db::terminals::Setting;
use crate::error::{Error, Problem, check_text};
use crate::schedules::{Change, Dates, Effect, Touched};
use crate::text::{NAME, SHORT_NAME, ShortNameText};
use crate::workdays::horizon::horizon;

/// What a site shall be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteSetting {
    /// The IANA time zone in which its days begin.
    #[schema(value_type = ShortNameText, example = "Europe/Berlin")]
    zone: String,
    /// The calendar of its holidays; none if left out.
    #[schema(value_type = Option<ShortNameText>)]
    calendar: Option<String>,
    /// Another name for it.
    #[schema(value_type = Option<ShortNameText>)]
    name: Option<String>,
}

/// All sites, by name.
pub async fn sites(pool: &PgPool) -> Result<Vec<Site>, Error> {
    Ok(db::sites::list(&mut *pool.acquire().await?).await?)
}

/// All departments, by name.
pub async fn departments(pool: &PgPool) -> Result<Vec<String>, Error> {
    Ok(db::sites::departments(&mut *pool.acquire().await?).await?)
}

/// Makes or changes a site.
pub async fn put(change: &Change<'_>, name: &str, setting: &SiteSetting) -> Result<Effect, Error> {
    check_text("name", name, SHORT_NAME)?;
    let zone = canonical(&setting.zone)?;
    let calendar = setting.calendar.as_deref();
    let mut transaction = change.begin().await?;
    let before = db::sites::list(&mut transaction).await?.into_iter().find(|site| site.name == name);
    if !db::sites::put(&mut transaction, name, &zone, calendar).await? {
        let calendar = calendar.unwrap_or_default();
        return Err(Problem::CalendarUnknown { calendar: calendar.to_owned() }.of("calendar"));
    }
    let same =
        before.as_ref().is_some_and(|before| before.zone == zone && before.calendar.as_deref() == calendar);
    let people = if same {
        0
    } else {
        change.ask(&mut transaction, Touched::Many(Whose::Site(name)), Dates::ALL).await?
    };
    if let Some(new) = setting.name.as_deref().filter(|new| *new != name) {
        check_text("name", new, SHORT_NAME)?;
        // Tried, it would keep others waiting for the name until everybody's days have been weighed.
        if change.trial.is_none() {
            rename(&mut transaction, name, new).await?;
        }
    }
    let before = before.map(|before| json!({"zone": before.zone, "calendar": before.calendar}));
    let detail = json!({"zone": zone, "calendar": calendar, "name": setting.name, "before": before});
    change.record(&mut transaction, "site.put", name, detail).await?;
    change.finish(transaction, people).await
}

async fn rename(conn: &mut sqlx::PgConnection, name: &str, new: &str) -> Result<(), Error> {
    let renamed = db::sites::rename(conn, name, new).await;
    renamed.map(drop).map_err(|error| match error.as_database_error() {
        Some(refusal) if refusal.is_unique_violation() => Problem::SiteTaken { site: new.to_owned() }.into(),
        _ => error.into(),
    })
}

/// Lets the first site follow the hub's own zone, until somebody sets another. Its days are then
/// computed again.
pub async fn follow(pool: &PgPool, zone: &str, now: Timestamp) -> Result<()> {
    let mut transaction = pool.begin().await?;
    if let Some(site) = db::sites::follow(&mut transaction, zone).await? {
        let (from, to) = horizon(&mut transaction, now).await?;
        db::recompute_queue::ask_many(&mut transaction, Whose::Site(&site), from, to).await?;
        let detail = json!({"zone": zone});
        db::audit::record(&mut transaction, "hub", "site.follow", &site, detail).await?;
    }
    Ok(transaction.commit().await?)
}

/// The name of a zone as IANA writes it.
fn canonical(zone: &str) -> Result<String, Error> {
    let unknown = || Problem::TimeZoneUnknown { zone: zone.chars().take(SHORT_NAME).collect() }.of("zone");
    // Files of the zone database that name no place, or count leap seconds.
    let odd = ["localtime", "posixrules", "Factory"].contains(&zone)
        || ["posix/", "right/"].iter().any(|folder| zone.starts_with(folder));
    if odd || zone.len() > SHORT_NAME {
        return Err(unknown());
    }
    let found = TimeZone::get(zone).map_err(|_| unknown())?;
    found.iana_name().map(str::to_owned).ok_or_else(unknown)
}

/// Sets where a terminal hangs and which way its door is used.
pub async fn set_terminal(change: &Change<'_>, device: &str, wanted: &Setting) -> Result<(), Error> {
    let unknown = || Error::from(Problem::TerminalUnknown { terminal: device.to_owned() });
    let id: DeviceId = device.parse().map_err(|_| unknown())?;
    if let Some(name) = &wanted.name {
        check_text("name", name, NAME)?;
    }
    let mut transaction = change.begin().await?;
    if let Some(site) = &wanted.site
        && !db::sites::list(&mut transaction).await?.iter().any(|known| known.name == *site)
    {
        return Err(Problem::SiteUnknown { site: site.clone() }.of("site"));
    }
    let known = db::terminals::list(&mut transaction, "UTC").await?.into_iter();
    let known = known.into_iter().find(|terminal| terminal.device == id.as_str()).ok_or_else(unknown)?;
    if wanted.site.as_ref().is_some_and(|site| *site != known.site) {
        nothing_hangs_on(&mut transaction, &id, change.now).await?;
    }
    db::terminals::set(&mut transaction, &id, wanted).await?;
    let before = json!({"name": known.name, "site": known.site, "direction": known.direction});
    let detail =
        json!({"name": wanted.name, "site": wanted.site, "direction": wanted.direction, "before": before});
    change.record(&mut transaction, "terminal.set", id.as_str(), detail).await?;
    change.finish(transaction, 0).await.map(drop)
}

/// Moved away, a terminal that is silent would make the absences final that wait for it.
async fn nothing_hangs_on(conn: &mut sqlx::PgConnection, id: &DeviceId, now: Timestamp) -> Result<(), Error> {
    match db::terminals::awaited(conn, id, now).await? {
        0 => Ok(()),
        absences => Err(Problem::AbsencesAwaitTerminal { absences }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_written_as_iana_does() {
        assert_eq!(canonical("europe/berlin").expect("a zone"), "Europe/Berlin");
        assert_eq!(canonical("UTC").expect("a zone"), "UTC");
        assert!(canonical("Mars/Base").is_err());
        assert!(canonical(&"x".repeat(1000)).is_err());
    }
}
