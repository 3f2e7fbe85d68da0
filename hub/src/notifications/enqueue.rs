//! Notifications are enqueued in the transaction that detects the event, once per key.

use std::collections::HashMap;

use anyhow::Result;
use jiff::tz::TimeZone;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::date::{Date, Timestamp};
use crate::db;
use crate::db::channels::{Channels, Kind};
use crate::db::notifications::{Audience, Listeners, NewMessage};
use crate::db::workdays::{Status, Workday};
use crate::notifications::{Detail, MAIL, Times};
use crate::person::PersonId;

/// Older workdays are not notified when they are written.
const WRITTEN_DAYS: i32 = 2;
/// Older workdays are not notified when they become final.
/// A terminal may be silent over a long weekend and the bridge days.
const CLOSED_DAYS: i32 = 14;
/// Workdays of each kind that one sweep takes, at most; the next goes on.
const SWEPT: i64 = 1000;

/// Who listens to messages of a kind.
fn listeners(channels: &Channels, kind: Kind) -> Listeners {
    let webhook = channels.webhooks.iter().any(|(_, kinds)| kinds.contains(&kind));
    Listeners { mail: channels.mail, webhook }
}

impl From<&Workday> for Detail {
    fn from(day: &Workday) -> Self {
        let Workday { late_s, first_in, last_out, starts_at, .. } = *day;
        Self {
            date: day.date,
            shift: day.shift.clone(),
            times: Times { late_s, first_in, last_out, starts_at },
        }
    }
}

/// Enqueues notifications about workdays, in the transaction that wrote them.
pub async fn enqueue_written(
    conn: &mut PgConnection,
    channels: &Channels,
    days: &[Workday],
    now: Timestamp,
) -> Result<()> {
    let since = days_before(now, WRITTEN_DAYS);
    for kind in Kind::ALL.iter().copied().filter(|kind| !kind.waits_until_final()) {
        let concerned = days
            .iter()
            .filter(|day| day.date >= since && applies(kind, Some(day.status), Some(day.late_s), &day.flags));
        enqueue(conn, channels, kind, &concerned.collect::<Vec<_>>(), now).await?;
    }
    Ok(())
}

/// Enqueues notifications about workdays that have become final, in a transaction of its own.
/// Nothing is sent about days before yesterday when somebody first listened.
pub async fn enqueue_closed(conn: &mut PgConnection, channels: &Channels, now: Timestamp) -> Result<()> {
    let kinds = Kind::ALL.iter().copied().filter(|kind| kind.waits_until_final());
    let wanted: Vec<(Kind, Listeners)> = kinds
        .map(|kind| (kind, listeners(channels, kind)))
        .filter(|(_, listeners)| listeners.mail || listeners.webhook)
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let first = db::notifications::first_date(conn, days_before(now, 1)).await?;
    let since = days_before(now, CLOSED_DAYS).max(first);
    for (kind, listeners) in wanted {
        let days = db::notifications::closed(conn, kind, listeners, since, now, SWEPT).await?;
        enqueue(conn, channels, kind, &days.iter().collect::<Vec<_>>(), now).await?;
    }
    Ok(())
}

/// Whether a kind is about a workday with these figures; without any where the day is none any more.
pub fn applies(kind: Kind, status: Option<Status>, late_s: Option<i32>, flags: &[String]) -> bool {
    match kind {
        Kind::Late => late_s.is_some_and(|late_s| late_s > 0),
        Kind::Absence => status == Some(Status::Absent),
        Kind::MissingOut => status != Some(Status::Leave) && flags.iter().any(|flag| flag == kind.as_str()),
    }
}

fn days_before(now: Timestamp, days: i32) -> Date {
    now.date_in(&TimeZone::UTC).plus(-days)
}

async fn enqueue(
    conn: &mut PgConnection,
    channels: &Channels,
    kind: Kind,
    days: &[&Workday],
    now: Timestamp,
) -> Result<()> {
    if days.is_empty() {
        return Ok(());
    }
    let people: Vec<PersonId> = days.iter().map(|day| day.person).collect();
    let audiences = db::notifications::audiences(conn, &people).await?.into_iter();
    let audiences: HashMap<PersonId, Audience> = audiences.map(|one| (one.person, one)).collect();
    let mut queued = Vec::new();
    for day in days {
        if let Some(audience) = audiences.get(&day.person) {
            queued.extend(messages(channels, kind, day, audience)?);
        }
    }
    Ok(db::notifications::put(conn, &queued, now).await?)
}

/// One message for each channel and recipient.
fn messages(channels: &Channels, kind: Kind, day: &Workday, audience: &Audience) -> Result<Vec<NewMessage>> {
    let (person, detail) = (day.person, serde_json::to_value(Detail::from(day))?);
    let message = |channel: &str, recipient: PersonId, whom: &str| NewMessage {
        id: Uuid::now_v7(),
        key: format!("{kind}/{person}/{}/{}/{whom}", day.date, day.shift),
        channel: channel.to_owned(),
        kind,
        person,
        recipient,
        detail: detail.clone(),
    };
    let mut queued = Vec::new();
    if channels.mail {
        let readers = readers(kind, audience).into_iter();
        queued.extend(readers.map(|reader| message(MAIL, reader, &reader.to_string())));
    }
    let webhooks = channels.webhooks.iter().filter(|(_, kinds)| kinds.contains(&kind));
    queued.extend(webhooks.map(|(name, _)| message(name, person, name)));
    Ok(queued)
}

/// Who gets a letter: the person and their manager, unless they have no address or want none.
fn readers(kind: Kind, audience: &Audience) -> Vec<PersonId> {
    let wanted = |reachable: bool, muted: &[Kind]| reachable && !muted.contains(&kind);
    let person = wanted(audience.reachable, &audience.muted).then_some(audience.person);
    let manager = wanted(audience.manager_reachable, &audience.manager_muted).then_some(audience.manager);
    person.into_iter().chain(manager.flatten()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::db::workdays::Status;

    fn day() -> Workday {
        Workday {
            person: PersonId::from_u128(1),
            date: jiff::civil::date(2025, 3, 3).into(),
            shift: "Early".into(),
            status: Status::Present,
            first_in: None,
            last_out: None,
            worked_s: None,
            expected_s: 0,
            late_s: 60,
            early_s: 0,
            overtime_s: 0,
            balance_s: None,
            flags: Vec::new(),
            starts_at: None,
            closes_at: None,
            due_at: None,
        }
    }

    fn audience() -> Audience {
        Audience {
            person: PersonId::from_u128(1),
            reachable: true,
            muted: Vec::new(),
            manager: Some(PersonId::from_u128(2)),
            manager_reachable: true,
            manager_muted: Vec::new(),
        }
    }

    fn keys(channels: &Channels, audience: &Audience) -> Vec<String> {
        let queued = messages(channels, Kind::Late, &day(), audience).expect("messages");
        queued.into_iter().map(|message| message.key).collect()
    }

    #[test]
    fn each_recipient_and_each_webhook_is_owed_one() {
        let hooks = vec![("payroll".to_owned(), vec![Kind::Late]), ("gate".to_owned(), vec![Kind::Absence])];
        let channels = Channels { mail: true, webhooks: hooks.into() };
        let day = "late/00000000-0000-0000-0000-000000000001/2025-03-03/Early";
        let (own, boss) = (PersonId::from_u128(1), PersonId::from_u128(2));
        let all = [format!("{day}/{own}"), format!("{day}/{boss}"), format!("{day}/payroll")];
        assert_eq!(keys(&channels, &audience()), all);
        let silent = Audience { muted: vec![Kind::Late], ..audience() };
        assert_eq!(keys(&channels, &silent), all[1..]);
        let unreachable = Audience { reachable: false, manager_reachable: false, ..audience() };
        assert_eq!(keys(&channels, &unreachable), all[2..]);
        let alone = Audience { manager: None, manager_reachable: false, ..audience() };
        assert_eq!(keys(&Channels { mail: true, ..Channels::default() }, &alone), all[..1]);
        assert!(keys(&Channels::default(), &audience()).is_empty());
    }

    #[test]
    fn a_detail_is_read_as_it_was_written() {
        let mut detail = Detail::from(&day());
        detail.times.first_in = jiff::Timestamp::from_second(1_741_000_000).ok().map(Timestamp);
        let written = serde_json::to_value(&detail).expect("written");
        assert_eq!((&written["date"], &written["late_s"]), (&json!("2025-03-03"), &json!(60)));
        let read: Detail = serde_json::from_value(written).expect("read");
        assert_eq!((read.date, read.times.first_in), (detail.date, detail.times.first_in));
    }
}
