//! What every handler may use.

use std::path::PathBuf;
use std::sync::Arc;

use attendance::Policy;
use jiff::tz::TimeZone;
use sqlx::PgPool;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock;
use crate::crypto::ca::Authority;
use crate::crypto::vault::Vault;
use crate::date::Date;
use crate::db::channels::Channels;
use crate::limits::KeyedLimit;
use crate::mqtt::rejections::Rejections;

/// The hub as its API and its console see it. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Where everything is kept.
    pub pool: PgPool,
    /// What templates are sealed with.
    pub vault: Arc<Vault>,
    /// In which days begin.
    pub zone: TimeZone,
    /// What the configuration says about workdays.
    pub policy: Policy,
    /// Who is told of late arrivals and absences.
    pub channels: Channels,
    /// The folder of models, if configured.
    pub models: Option<PathBuf>,
    /// The ids of punches as they are committed, by whatever hub.
    pub punches: broadcast::Sender<Uuid>,
    /// Signs terminals.
    pub authority: Arc<Authority>,
    /// Whether the broker looks at certificates for the hub.
    pub own_broker: bool,
    /// Who was not let in.
    pub rejections: Arc<Rejections>,
    /// Heavy requests of each account.
    pub heavy: KeyedLimit<String>,
    /// Live streams of each session, by the hash of its token.
    pub streams: KeyedLimit<Vec<u8>>,
    /// Changes when workdays do, by whatever hub.
    pub workdays: watch::Receiver<()>,
    /// Ends long answers when the hub stops.
    pub stop: CancellationToken,
}

impl App {
    /// The local date.
    pub fn today(&self) -> Date {
        clock::now().date_in(&self.zone)
    }

    /// As the database knows the zone.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }
}
