//! The workers that send queued messages, one for each channel.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::date::Timestamp;
use crate::db::channels::Kind;
use crate::db::notifications::{Facts, Leased};
use crate::notifications::enqueue::applies;
use crate::notifications::{Detail, MAIL, MailSettings, Message, Unsent, WebhookSettings, mail, webhook};
use crate::{clock, db};

/// Sleep of somebody who has nothing to send, at most.
const LULL: Duration = Duration::from_secs(20);
/// Between attempts to reach the database.
const RETRY: Duration = Duration::from_secs(1);
/// Attempts to note what became of a message. Noted it must be: what was sent would be sent again.
const NOTES: u32 = 60;
/// How long that is tried once the hub is to stop, which waits for no part for ever.
const LAST_NOTES: Duration = Duration::from_secs(7);
/// An email that the server puts off for its own sake is not tried any longer than this.
const REFUSED: Duration = Duration::from_hours(5 * 24);
/// Between two attempts to send a message, at most.
const LONGEST: Duration = Duration::from_mins(5);
/// Added to the time that sending takes at most: nobody else takes the message until then.
const MARGIN: Duration = Duration::from_secs(10);

/// Everything that messages are sent with.
pub struct Sender {
    carriers: Vec<Carrier>,
}

impl Sender {
    /// Reads the secrets that the configuration names.
    pub fn open(mail: Option<&MailSettings>, webhooks: &[WebhookSettings]) -> Result<Self> {
        let mut carriers = Vec::with_capacity(webhooks.len() + 1);
        if let Some(settings) = mail {
            carriers.push(Carrier::Mail(Box::new(mail::Relay::open(settings).context("mail")?)));
        }
        for settings in webhooks {
            let hook =
                webhook::Webhook::open(settings).with_context(|| format!("webhooks: {}", settings.name))?;
            carriers.push(Carrier::Webhook(hook));
        }
        Ok(Self { carriers })
    }
}

/// What sends the messages of one channel.
enum Carrier {
    Mail(Box<mail::Relay>),
    Webhook(webhook::Webhook),
}

impl Carrier {
    fn channel(&self) -> &str {
        match self {
            Self::Mail(_) => MAIL,
            Self::Webhook(hook) => hook.name(),
        }
    }

    /// How long sending may take: to connect, and to deliver.
    fn patience(&self) -> Duration {
        match self {
            Self::Mail(relay) => relay.timeout() * 2,
            Self::Webhook(_) => webhook::TIMEOUT * 2,
        }
    }

    /// What is waited after the first failure.
    fn retry(&self) -> Duration {
        match self {
            Self::Mail(relay) => relay.retry(),
            Self::Webhook(_) => webhook::RETRY,
        }
    }

    async fn send(&mut self, message: &Message, now: Timestamp) -> Result<(), Unsent> {
        match self {
            Self::Mail(relay) => relay.send(message, now).await,
            Self::Webhook(hook) => hook.send(message, now).await,
        }
    }

    /// Lets go of what it keeps for the next message.
    async fn rest(&mut self) {
        if let Self::Mail(relay) = self {
            relay.hang_up().await;
        }
    }
}

/// Sends queued messages until it is told to stop. What is under way then is finished first.
/// `wake` changes when a message is queued.
pub async fn run(
    pool: PgPool,
    sender: Sender,
    wake: watch::Receiver<()>,
    stop: CancellationToken,
) -> Result<()> {
    // Each channel for itself: a server that does not answer holds up no other.
    let workers = sender.carriers.into_iter().map(|carrier| {
        let (pool, wake, stop) = (pool.clone(), wake.clone(), stop.clone());
        Worker { pool, carrier, wake, stop }.run()
    });
    try_join_all(workers).await?;
    stop.cancelled().await;
    Ok(())
}

/// Sends the messages of one channel.
struct Worker {
    pool: PgPool,
    carrier: Carrier,
    wake: watch::Receiver<()>,
    stop: CancellationToken,
}

/// What a worker took.
enum Taken {
    /// A message to send.
    Message(Leased, Box<Message>),
    /// One that there is no point in sending; it was dropped.
    Pointless,
    /// None; the next is due in so many seconds.
    Nothing(Option<f64>),
}

/// What a worker found.
enum Step {
    /// A message, which is done with for now.
    Done,
    /// A server in trouble.
    Trouble,
    /// Nothing that is due for so long.
    Nothing(Duration),
}

impl Worker {
    async fn run(mut self) -> Result<()> {
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            self.wake.borrow_and_update();
            match self.step().await {
                Ok(Step::Done) => failures = 0,
                Ok(Step::Trouble) => {
                    failures += 1;
                    self.pause(backoff(self.carrier.retry(), failures, rand::random())).await;
                }
                Ok(Step::Nothing(lull)) => self.wait(lull).await?,
                Err(error) => {
                    let channel = self.carrier.channel();
                    warn!(channel, error = format!("{error:#}"), "cannot send messages; retrying");
                    self.pause(RETRY).await;
                }
            }
        }
        self.carrier.rest().await;
        Ok(())
    }

    /// Waits, whatever is queued meanwhile.
    async fn pause(&mut self, duration: Duration) {
        self.carrier.rest().await;
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Waits until a message is queued, but no longer than `lull`.
    async fn wait(&mut self, lull: Duration) -> Result<()> {
        self.carrier.rest().await;
        tokio::select! {
            changed = self.wake.changed() => changed.context("the listener is gone"),
            () = tokio::time::sleep(lull) => Ok(()),
            () = self.stop.cancelled() => Ok(()),
        }
    }

    /// Takes one message and sends it.
    async fn step(&mut self) -> Result<Step> {
        let (claimed, message) = match self.take().await? {
            Taken::Nothing(due_in) => return Ok(Step::Nothing(lull(due_in))),
            Taken::Pointless => return Ok(Step::Done),
            Taken::Message(claimed, message) => (claimed, message),
        };
        let sent = self.carrier.send(&message, clock::now()).await;
        let outcome = sent.map_err(|unsent| aged(&claimed, unsent));
        self.note(&claimed, &outcome).await?;
        Ok(match outcome {
            Err(Unsent::Later { trouble: true, .. }) => Step::Trouble,
            _ => Step::Done,
        })
    }

    /// Claims one message and looks up what it says, or drops it: in one transaction, so that nobody
    /// enqueues it again between the look and the drop, and takes it for queued.
    async fn take(&self) -> Result<Taken> {
        let hold = self.carrier.patience() + MARGIN;
        let mut transaction = self.pool.begin().await?;
        let channel = self.carrier.channel();
        let Some(claimed) = db::notifications::lease(&mut transaction, channel, hold.as_secs_f64()).await?
        else {
            return Ok(Taken::Nothing(db::notifications::due_in(&mut transaction, channel).await?));
        };
        let by_mail = matches!(self.carrier, Carrier::Mail(_));
        let looked_up = look_up(&mut transaction, &claimed, by_mail).await?;
        if let Err(reason) = looked_up {
            db::notifications::give_up(
                &mut transaction,
                &claimed,
                reason.text(),
                reason == Pointless::Obsolete,
            )
            .await?;
        }
        transaction.commit().await?;
        Ok(match looked_up {
            Ok(message) => Taken::Message(claimed, Box::new(message)),
            Err(reason) => {
                warn!(id = %claimed.id, channel, kind = %claimed.kind, reason = reason.text(), "a message was dropped");
                Taken::Pointless
            }
        })
    }

    /// Writes down what became of a message, also when the database is away for a moment.
    async fn note(&self, claimed: &Leased, outcome: &Result<(), Unsent>) -> Result<()> {
        let mut tries = 1;
        let mut stopped: Option<Instant> = None;
        loop {
            let Err(error) = self.note_once(claimed, outcome).await else { return Ok(()) };
            if self.stop.is_cancelled() {
                stopped = stopped.or_else(|| Some(Instant::now()));
            }
            // What was not sent is sent later, noted or not.
            let enough = stopped.is_some_and(|since| outcome.is_err() || since.elapsed() > LAST_NOTES);
            if enough || tries >= NOTES {
                return Err(error);
            }
            warn!(id = %claimed.id, error = format!("{error:#}"), "what became of it can't be noted; trying again");
            tries += 1;
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn note_once(&self, claimed: &Leased, outcome: &Result<(), Unsent>) -> Result<()> {
        let mut conn = self.pool.acquire().await?;
        let (id, channel, kind) = (claimed.id, self.carrier.channel(), claimed.kind.as_str());
        match outcome {
            Ok(()) => {
                db::notifications::sent(&mut conn, id).await?;
                info!(%id, channel, kind, "notification sent");
            }
            Err(Unsent::Dropped(reason)) => {
                db::notifications::give_up(&mut conn, claimed, reason, false).await?;
                warn!(%id, channel, kind, reason, "a message was dropped");
            }
            Err(Unsent::Later { reason, trouble }) => {
                let attempts = u32::try_from(claimed.attempts).unwrap_or(u32::MAX);
                let delay = backoff(self.carrier.retry(), attempts, rand::random()).as_secs_f64();
                db::notifications::put_off(&mut conn, claimed, reason, delay, !trouble).await?;
                warn!(%id, channel, kind, reason, attempts, "a message was put off");
            }
        }
        Ok(())
    }
}

/// What becomes of a message that was put off: one that the server has put off for its own sake for
/// so long is given up, while a server in trouble is waited for without limit.
fn aged(claimed: &Leased, unsent: Unsent) -> Unsent {
    let old = claimed.refused_s.is_some_and(|seconds| seconds > REFUSED.as_secs_f64());
    match unsent {
        Unsent::Later { reason, trouble: false } if old => {
            Unsent::Dropped(format!("given up after five days: {reason}"))
        }
        other => other,
    }
}

/// How long to sleep if the next message is due in so many seconds.
fn lull(due_in: Option<f64>) -> Duration {
    // A little later rather than a little too early.
    let wait = due_in.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0) + 0.01).unwrap_or(LULL));
    wait.map_or(LULL, |wait| wait.min(LULL))
}

/// The wait after so many failures: doubled each time up to the longest, and up to a quarter
/// shorter by chance (0 to 1), so that not all come back at once.
fn backoff(first: Duration, failures: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 4.0)
}

/// Everything that a message says, or why there is no point in sending it any more.
async fn look_up(
    conn: &mut PgConnection,
    claimed: &Leased,
    by_mail: bool,
) -> Result<Result<Message, Pointless>> {
    let detail: Option<Detail> = serde_json::from_value(claimed.detail.clone()).ok();
    let Some(detail) = detail else {
        return Ok(Err(Pointless::OtherRelease));
    };
    let whom = (claimed.person, claimed.recipient);
    let facts = db::notifications::facts(conn, whom, (detail.date, &detail.shift), clock::now()).await?;
    if let Some(reason) = pointless(claimed, claimed.kind, &facts, by_mail) {
        return Ok(Err(reason));
    }
    Ok(Ok(Message {
        id: claimed.id,
        kind: claimed.kind,
        own: claimed.person == claimed.recipient,
        number: facts.number,
        name: facts.name,
        zone: facts.zone,
        recipient: facts.recipient,
        email: facts.email,
        language: facts.language,
        detail,
        created_at: claimed.created_at,
    }))
}

/// Why a message has become pointless since it was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pointless {
    /// It is queued again should it apply again.
    Obsolete,
    NotTheirManager,
    Muted,
    WithoutAddress,
    OtherRelease,
}

impl Pointless {
    fn text(self) -> &'static str {
        match self {
            Self::Obsolete => "no longer applies",
            Self::NotTheirManager => "the recipient is their manager no longer",
            Self::Muted => "the recipient wants no such messages",
            Self::WithoutAddress => "the recipient has no address",
            Self::OtherRelease => "it was written by another release",
        }
    }
}

fn pointless(claimed: &Leased, kind: Kind, facts: &Facts, by_mail: bool) -> Option<Pointless> {
    let theirs = claimed.person == claimed.recipient || facts.manager == Some(claimed.recipient);
    if !applies(kind, facts.status, facts.late_s, facts.flags.as_deref().unwrap_or_default()) {
        Some(Pointless::Obsolete)
    } else if !by_mail {
        None
    } else if !theirs {
        Some(Pointless::NotTheirManager)
    } else if facts.muted.contains(&kind) {
        Some(Pointless::Muted)
    } else if facts.email.is_none() {
        Some(Pointless::WithoutAddress)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::db::workdays::Status;
    use crate::i18n::Language;
    use crate::person::PersonId;

    fn facts() -> Facts {
        Facts {
            number: "1001".into(),
            name: "Ann Early".into(),
            manager: Some(PersonId::from_u128(2)),
            zone: "Europe/Berlin".into(),
            recipient: "Ann Early".into(),
            email: Some("ann@example.org".into()),
            language: Language::English,
            muted: Vec::new(),
            status: Some(Status::Present),
            late_s: Some(60),
            flags: Some(Vec::new()),
        }
    }

    fn claimed(recipient: u128, refused_s: Option<f64>) -> Leased {
        let created_at = Timestamp::default();
        let (person, recipient) = (PersonId::from_u128(1), PersonId::from_u128(recipient));
        let (id, kind, detail) = (Uuid::nil(), Kind::Late, json!({}));
        Leased { id, kind, person, recipient, detail, attempts: 1, refused_s, created_at }
    }

    #[test]
    fn what_became_pointless_is_not_sent() {
        let why = |recipient, facts: &Facts| pointless(&claimed(recipient, None), Kind::Late, facts, true);
        assert_eq!(why(1, &facts()), None);
        assert_eq!(why(2, &facts()), None);
        assert_eq!(why(3, &facts()), Some(Pointless::NotTheirManager));
        let quiet = Facts { muted: vec![Kind::Absence, Kind::Late], ..facts() };
        assert_eq!(why(1, &quiet), Some(Pointless::Muted));
        assert_eq!(why(1, &Facts { email: None, ..facts() }), Some(Pointless::WithoutAddress));
        assert_eq!(why(1, &Facts { late_s: None, ..quiet }), Some(Pointless::Obsolete));
        // Webhooks know neither addresses nor wishes.
        let bare = Facts { muted: vec![Kind::Late], email: None, ..facts() };
        assert_eq!(pointless(&claimed(1, None), Kind::Late, &bare, false), None);
    }

    #[test]
    fn leave_is_no_missing_punch() {
        let flags = ["early".to_owned(), "missing_out".to_owned()];
        let applies = |kind, status| applies(kind, Some(status), None, &flags);
        assert!(applies(Kind::MissingOut, Status::Incomplete) && !applies(Kind::MissingOut, Status::Leave));
        assert!(applies(Kind::Absence, Status::Absent) && !applies(Kind::Absence, Status::Leave));
    }

    #[test]
    fn only_what_is_refused_itself_is_given_up_after_five_days() {
        let given_up = |days: Option<f64>, trouble: bool| {
            let claimed = claimed(1, days.map(|days| days * 86_400.0));
            match aged(&claimed, Unsent::Later { reason: "450 4.1.2".into(), trouble }) {
                Unsent::Dropped(reason) => Some(reason),
                Unsent::Later { .. } => None,
            }
        };
        assert_eq!(given_up(Some(5.1), false).as_deref(), Some("given up after five days: 450 4.1.2"));
        for (days, trouble) in [(None, false), (Some(4.9), false), (Some(5.1), true), (Some(500.0), true)] {
            assert_eq!(given_up(days, trouble), None, "{days:?} {trouble}");
        }
    }

    #[test]
    fn waits_double_up_to_five_minutes() {
        let first = Duration::from_secs(10);
        let waits = [1, 2, 3, 6, 40, u32::MAX].map(|failures| backoff(first, failures, 0.0).as_secs());
        assert_eq!(waits, [10, 20, 40, 300, 300, 300]);
        assert_eq!(backoff(first, 1, 1.0), Duration::from_millis(7500));
    }

    #[test]
    fn sleep_ends_when_a_message_is_due() {
        assert_eq!(lull(None), LULL);
        assert_eq!(lull(Some(1e9)), LULL);
        assert_eq!(lull(Some(-3.0)), Duration::from_millis(10));
        assert_eq!(lull(Some(2.0)), Duration::from_millis(2010));
    }
}
