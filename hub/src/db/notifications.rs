//! The queue of messages (the outbox) in which they wait until they are sent.
//!
//! The queue lives by PostgreSQL's clock, so that hubs whose clocks differ take no message from
//! each other.

use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::date::{Date, Timestamp, Zoned};
use crate::db::OUTBOX_CHANNEL;
use crate::db::channels::Kind;
use crate::db::workdays::{Status, Workday};
use crate::i18n::Language;
use crate::person::{PersonId, PersonNumber};
use crate::text::words;

words! {
    /// What became of a message.
    pub enum MessageState { Pending = "pending", Sent = "sent", Dropped = "dropped" }
}

/// A message that is to be sent.
pub struct NewMessage {
    pub id: Uuid,
    /// What must not be told twice.
    pub key: String,
    /// mail, or the name of a webhook.
    pub channel: String,
    pub kind: Kind,
    /// Of whom it tells.
    pub person: PersonId,
    /// Whom it is for.
    pub recipient: PersonId,
    /// What it tells, without names.
    pub detail: Value,
}

/// Who can be told of a person.
pub struct Audience {
    pub person: PersonId,
    /// Whether they have an address.
    pub reachable: bool,
    /// What they do not want to be told.
    pub muted: Vec<Kind>,
    pub manager: Option<PersonId>,
    pub manager_reachable: bool,
    pub manager_muted: Vec<Kind>,
}

/// Who listens.
#[derive(Clone, Copy)]
pub struct Listeners {
    /// People, by e-mail.
    pub mail: bool,
    /// Some webhook.
    pub webhook: bool,
}

/// A message that somebody is about to send. Nobody else does, for a while.
pub struct Leased {
    pub id: Uuid,
    pub kind: Kind,
    /// Of whom it tells.
    pub person: PersonId,
    /// Whom it is for.
    pub recipient: PersonId,
    /// What it tells.
    pub detail: Value,
    /// How often it was tried, this time included. It tells one lease from the next.
    pub attempts: i32,
    /// Seconds since the server first put off this very message, if it did.
    pub refused_s: Option<f64>,
    pub created_at: Timestamp,
}

/// What is known, now, of those whom a message is about.
pub struct Facts {
    pub number: PersonNumber,
    pub name: String,
    pub manager: Option<PersonId>,
    /// The zone of their site.
    pub zone: String,
    /// The recipient's name, address and language, and what they do not want to be told.
    pub recipient: String,
    pub email: Option<String>,
    pub language: Language,
    pub muted: Vec<Kind>,
    /// The workday's status, if it still stands.
    pub status: Option<Status>,
    pub late_s: Option<i32>,
    pub flags: Option<Vec<String>>,
}

/// A notification. Times are local, with their offset.
#[derive(Serialize, ToSchema)]
pub struct Notification {
    pub id: Uuid,
    pub kind: Kind,
    /// The number of the person of whom it tells.
    #[schema(value_type = String)]
    pub number: PersonNumber,
    /// The number of the one whom it is for; with a webhook, that of the person.
    #[schema(value_type = String)]
    pub recipient: PersonNumber,
    /// mail, or the name of a webhook.
    pub channel: String,
    pub state: MessageState,
    /// How often it was tried.
    pub attempts: i32,
    /// When it is tried next; null unless it is pending.
    pub next_at: Option<Zoned>,
    /// What went wrong the last time.
    pub error: Option<String>,
    pub created_at: Zoned,
    pub sent_at: Option<Zoned>,
}

/// Adds messages. Those that are queued already stay as they are, but those that were dropped because
/// they no longer applied are queued again.
pub async fn put(conn: &mut PgConnection, messages: &[NewMessage], now: Timestamp) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let text =
        |of: fn(&NewMessage) -> &str| -> Vec<String> { messages.iter().map(|o| of(o).to_owned()).collect() };
    let kinds: Vec<Kind> = messages.iter().map(|o| o.kind).collect();
    let ids: Vec<Uuid> = messages.iter().map(|o| o.id).collect();
    let people: Vec<PersonId> = messages.iter().map(|o| o.person).collect();
    let recipients: Vec<PersonId> = messages.iter().map(|o| o.recipient).collect();
    let details: Vec<Value> = messages.iter().map(|o| o.detail.clone()).collect();
    let done = sqlx::query!(
        "insert into outbox (id, key, channel, kind, person, recipient, detail, next_at, created_at)
        select distinct on (key) id, key, channel, kind, person, recipient, detail, now(), $8::timestamptz
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::jsonb[])
            as g (id, key, channel, kind, person, recipient, detail)
        order by key
        on conflict (key) do update set state = 'pending', moot = false, detail = excluded.detail, attempts = 0,
            next_at = excluded.next_at, error = null, refused_at = null, created_at = excluded.created_at
            where outbox.moot",
        &ids as &[Uuid],
        &text(|o| &o.key),
        &text(|o| &o.channel),
        &kinds as _,
        &people,
        &recipients,
        &details,
        now
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() > 0 { announce(conn).await } else { Ok(()) }
}

/// Wakes those who send, once a transaction.
async fn announce(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_notify($1, '')", OUTBOX_CHANNEL).execute(conn).await.map(drop)
}

/// Who can be told of people.
pub async fn audiences(conn: &mut PgConnection, people: &[PersonId]) -> Result<Vec<Audience>> {
    sqlx::query_as!(
        Audience,
        r#"select p.id as "person!", (p.email is not null) as "reachable!", p.muted as "muted!: Vec<Kind>", p.manager,
            (m.email is not null) as "manager_reachable!", coalesce(m.muted, '{}') as "manager_muted!: Vec<Kind>"
        from people p left join people m on m.id = p.manager where p.id = any($1)"#,
        people
    )
    .fetch_all(conn)
    .await
}

/// The first date of which absences and missing punches are told: `date`, unless somebody has set one.
pub async fn first_date(conn: &mut PgConnection, date: Date) -> Result<Date> {
    // On conflict: another hub may be doing the same.
    sqlx::query!(
        "insert into notices (from_date) select $1::date where not exists (select from notices) on conflict do nothing",
        date
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar!(r#"select from_date from notices"#).fetch_one(conn).await
}

/// Workdays that a kind of notification is about, that are final and of which nobody has been notified,
/// the oldest first. The index `workdays_amiss` has absences and missing punches: a kind about another flag needs that
/// flag there (a migration) and in the condition below. Final: the window has closed, nothing of the person waits to be computed, and
/// every terminal of the site has reported past the window's end or somebody said that it is final.
pub async fn closed(
    conn: &mut PgConnection,
    kind: Kind,
    listeners: Listeners,
    since: Date,
    now: Timestamp,
    most: i64,
) -> Result<Vec<Workday>> {
    sqlx::query_as!(
        Workday,
        r#"select w.person as "person!", w.date as "date!", w.shift as "shift!", w.status as "status!: Status", w.first_in,
            w.last_out, w.worked_s, w.expected_s as "expected_s!", w.late_s as "late_s!", w.early_s as "early_s!",
            w.overtime_s as "overtime_s!", w.balance_s, w.flags as "flags!", w.starts_at, w.closes_at,
            null::timestamptz as due_at
        from workdays_at($5) w join people p on p.id = w.person left join people m on m.id = p.manager
        where w.date >= $4 and (w.judged = 'absent' or 'missing_out' = any(w.flags)) -- as the index has it
            and case $1::text when 'absence' then w.status = 'absent'
                else w.status <> 'leave' and $1 = any(w.flags) end
            and w.closes_at <= $5 and not w.awaited
            -- Punches that came with that report may wait there. What another hub has taken stands
            -- there, too, until the workdays that it computes do.
            and not exists (select from jobs j where j.person = w.person)
            and ($3 or ($2 and ((p.email is not null and $1 <> all(p.muted))
                or (m.email is not null and $1 <> all(m.muted)))))
            and not exists (select from outbox o where o.person = w.person and o.kind = $1 and not o.moot
                and o.detail->>'date' = to_char(w.date, 'YYYY-MM-DD') and o.detail->>'shift' = w.shift)
        order by w.date, w.person, w.shift limit $6"#,
        kind as _,
        listeners.mail,
        listeners.webhook,
        since,
        now,
        most
    )
    .fetch_all(conn)
    .await
}

/// Takes the message of a channel that is due longest, for so many seconds; others' are stepped over.
/// Those that have failed again and again come last, so that they hold up nobody else.
/// Kinds that a later release knows wait for it.
pub async fn lease(conn: &mut PgConnection, channel: &str, hold_s: f64) -> Result<Option<Leased>> {
    sqlx::query_as!(
        Leased,
        r#"update outbox set held_until = now() + make_interval(secs => $2), attempts = attempts + 1
        where id = (
            select id from outbox where state = 'pending' and channel = $1 and next_at <= now()
                and (held_until is null or held_until <= now()) and kind = any($3)
            order by attempts > 3, next_at, id limit 1 for update skip locked)
        returning id, kind, person, recipient, detail, attempts,
            extract(epoch from now() - refused_at)::float8 as refused_s,
            created_at"#,
        channel,
        hold_s,
        Kind::ALL as _
    )
    .fetch_optional(conn)
    .await
}

/// Seconds until a message of a channel is due; negative if one is. `None`: none waits.
pub async fn due_in(conn: &mut PgConnection, channel: &str) -> Result<Option<f64>> {
    sqlx::query_scalar!(
        r#"select extract(epoch from min(greatest(next_at, held_until)) - now())::float8 as "due_in"
        from outbox where state = 'pending' and channel = $1"#,
        channel
    )
    .fetch_one(conn)
    .await
}

/// What is known now of a person, of the one who is told, and of the workday that it is about.
pub async fn facts(
    conn: &mut PgConnection,
    (person, recipient): (PersonId, PersonId),
    (date, shift): (Date, &str),
    now: Timestamp,
) -> Result<Facts> {
    sqlx::query_as!(
        Facts,
        r#"select p.number, p.name, p.manager, s.zone, r.name as recipient, r.email, r.language, r.muted as "muted: Vec<Kind>",
            w.status as "status?: Status", w.late_s as "late_s?", w.flags as "flags?"
        from people p join sites s on s.id = p.site join people r on r.id = $2
            left join workdays_at($5) w on w.person = p.id and w.date = $3 and w.shift = $4
        where p.id = $1"#,
        person,
        recipient,
        date,
        shift,
        now
    )
    .fetch_one(conn)
    .await
}

/// Notes that a message was sent.
pub async fn sent(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!(
        "update outbox set state = 'sent', moot = false, sent_at = now(), held_until = null, error = null
        where id = $1",
        id as Uuid
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Gives a message up; unless somebody else has claimed it since. `moot`: because it no longer applies.
pub async fn give_up(conn: &mut PgConnection, claimed: &Leased, reason: &str, moot: bool) -> Result<()> {
    sqlx::query!(
        "update outbox set state = 'dropped', moot = $4, held_until = null, error = $3
        where id = $1 and attempts = $2 and state = 'pending'",
        claimed.id as Uuid,
        claimed.attempts,
        reason,
        moot
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts a message off for so many seconds; unless somebody else has claimed it since. `refused`: the
/// server wanted this very message not now.
pub async fn put_off(
    conn: &mut PgConnection,
    claimed: &Leased,
    reason: &str,
    delay_s: f64,
    refused: bool,
) -> Result<()> {
    sqlx::query!(
        "update outbox set next_at = now() + make_interval(secs => $4), held_until = null, error = $3,
            refused_at = case when $5 then coalesce(refused_at, now()) else refused_at end
        where id = $1 and attempts = $2 and state = 'pending'",
        claimed.id as Uuid,
        claimed.attempts,
        reason,
        delay_s,
        refused
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Messages in a state (or all), the oldest first, after a row.
pub async fn list(
    conn: &mut PgConnection,
    state: Option<MessageState>,
    after: Option<Uuid>,
    most: i64,
    zone: &str,
) -> Result<Vec<Notification>> {
    sqlx::query_as!(
        Notification,
        r#"select o.id, o.kind, p.number, r.number as recipient, o.channel, o.state, o.attempts,
            case when o.state = 'pending' then zoned(o.next_at, $4) end as next_at, o.error,
            zoned(o.created_at, $4) as "created_at!", zoned(o.sent_at, $4) as sent_at
        from outbox o join people p on p.id = o.person join people r on r.id = o.recipient
        where ($1::text is null or o.state = $1) and ($2::uuid is null or o.id > $2)
        order by o.id limit $3"#,
        state as _,
        after as Option<Uuid>,
        most,
        zone
    )
    .fetch_all(conn)
    .await
}

/// The state of a message, locked until the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: Uuid) -> Result<Option<MessageState>> {
    sqlx::query_scalar!("select state from outbox where id = $1 for update", id as Uuid)
        .fetch_optional(conn)
        .await
}

/// Makes a message due now. Whoever holds it goes on.
pub async fn revive(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!(
        "update outbox set state = 'pending', moot = false, refused_at = null, next_at = now() where id = $1",
        id as Uuid
    )
    .execute(&mut *conn)
    .await?;
    announce(conn).await
}
