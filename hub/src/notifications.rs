//! Notifications of late arrivals, absences and missing punches, by e-mail and to webhooks.
//!
//! Messages are enqueued in the outbox by the transaction that detects the event; what sends takes it from
//! there and never holds a transaction while it talks. So a message survives a mail server that is
//! away and a hub that is killed. Where a protocol can't tell whether a message arrived, it is sent
//! again under the same id. Any number of hubs may send.

mod enqueue;
pub mod http;
mod mail;
mod template;
mod webhook;
mod worker;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::accounts::Actor;
use crate::crypto::secret_file;
use crate::date::{Date, Timestamp};
use crate::db;
use crate::db::channels::Kind;
use crate::db::notifications::{MessageState, Notification};
use crate::error::{Error, Problem};
use crate::i18n::Language;
use crate::person::PersonNumber;

pub use crate::notifications::enqueue::{enqueue_closed, enqueue_written};
pub use crate::notifications::mail::MailSettings;
pub use crate::notifications::webhook::WebhookSettings;
pub use crate::notifications::worker::{Sender, run};

/// The channel of e-mail; no webhook has this name.
const MAIL: &str = "mail";

/// What a message tells, without names: those are looked up when it is sent.
#[derive(Clone, Serialize, Deserialize)]
pub struct Detail {
    /// The workday's date.
    pub date: Date,
    /// Its shift; empty on an unscheduled day.
    pub shift: String,
    /// When what happened.
    #[serde(flatten)]
    pub times: Times,
}

/// The times of a workday.
#[derive(Clone, Serialize, Deserialize)]
pub struct Times {
    /// Seconds late.
    pub late_s: i32,
    /// When they came.
    pub first_in: Option<Timestamp>,
    /// When they went.
    pub last_out: Option<Timestamp>,
    /// When the shift begins.
    pub starts_at: Option<Timestamp>,
}

/// A message that is being sent. No `Debug`: it names people.
struct Message {
    id: Uuid,
    kind: Kind,
    /// Whether it goes to the person whom it is about.
    own: bool,
    number: PersonNumber,
    name: String,
    zone: String,
    recipient: String,
    email: Option<String>,
    language: Language,
    detail: Detail,
    created_at: Timestamp,
}

/// Why a message was not sent. The reasons name nobody and hold no secret.
enum Unsent {
    /// It will never be.
    Dropped(String),
    /// It must be tried again.
    Later {
        /// Why.
        reason: String,
        /// Whether the server is in trouble, so that other messages had better wait too.
        trouble: bool,
    },
}

impl Unsent {
    fn trouble(reason: impl Into<String>) -> Self {
        Self::Later { reason: reason.into(), trouble: true }
    }
}

/// Checks what the configuration says of webhooks together.
pub fn check(webhooks: &[WebhookSettings]) -> Result<()> {
    for (i, hook) in webhooks.iter().enumerate() {
        hook.check().with_context(|| format!("webhooks: {:?}", hook.name))?;
        let known = webhooks.iter().take(i).any(|other| other.name == hook.name);
        ensure!(!known, "webhooks: there are two of the name {:?}", hook.name);
    }
    Ok(())
}

/// A secret in a file, without the end of its line.
fn read_secret(path: &Path) -> Result<Zeroizing<String>> {
    let text = Zeroizing::new(secret_file::read(path)?);
    let secret = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    ensure!(!secret.is_empty(), "{} is empty", path.display());
    Ok(secret)
}

/// Messages in a state (or all), the oldest first, after a row. Access is audited.
pub async fn list(
    pool: &PgPool,
    actor: &Actor,
    state: Option<MessageState>,
    after: Option<Uuid>,
    most: i64,
    zone: &str,
) -> Result<Vec<Notification>> {
    let mut transaction = pool.begin().await?;
    let notices = db::notifications::list(&mut transaction, state, after, most, zone).await?;
    let detail = json!({"state": state, "count": notices.len()});
    db::audit::record(&mut transaction, actor, "notification.list", "notifications", detail).await?;
    transaction.commit().await?;
    Ok(notices)
}

/// Has a message that was dropped or put off tried at once.
pub async fn retry(pool: &PgPool, actor: &Actor, id: Uuid) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    match db::notifications::lock(&mut transaction, id).await? {
        None => return Err(Problem::NotificationUnknown { id }.into()),
        Some(MessageState::Sent) => return Err(Problem::NotificationSent { id }.into()),
        Some(MessageState::Pending | MessageState::Dropped) => {
            db::notifications::revive(&mut transaction, id).await?;
        }
    }
    db::audit::record(&mut transaction, actor, "notification.retry", &id.to_string(), json!({})).await?;
    transaction.commit().await?;
    Ok(())
}
