//! What the database announces, from this hub and any other.

use std::time::Duration;

use anyhow::Result;
use proto::DeviceId;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{broadcast, watch};
use tracing::warn;
use uuid::Uuid;

use crate::db;

/// Announcements that a slow receiver may be behind.
const BEHIND: usize = 1024;

/// A channel for each kind of announcement.
#[derive(Clone)]
pub struct Events {
    /// The ids of punches, as they are committed.
    pub punches: broadcast::Sender<Uuid>,
    /// Terminals that changed; None: any of them may have.
    pub terminals: broadcast::Sender<Option<DeviceId>>,
    pub gallery: watch::Sender<()>,
    pub jobs: watch::Sender<()>,
    pub workdays: watch::Sender<()>,
    pub outbox: watch::Sender<()>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            punches: broadcast::Sender::new(BEHIND),
            terminals: broadcast::Sender::new(BEHIND),
            gallery: watch::Sender::default(),
            jobs: watch::Sender::default(),
            workdays: watch::Sender::default(),
            outbox: watch::Sender::default(),
        }
    }
}

impl Events {
    /// Passes them on, and comes back after the database did.
    pub async fn listen(self, pool: PgPool) -> Result<()> {
        loop {
            match self.listen_once(&pool).await {
                Ok(()) => warn!("the database went away"),
                Err(error) => warn!(%error, "cannot listen to the database; trying again"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn listen_once(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        let workdays = [db::JOB_CHANNEL, db::WORKDAY_CHANNEL, db::OUTBOX_CHANNEL];
        let terminals = [db::PUNCH_CHANNEL, db::GALLERY_CHANNEL, db::TERMINAL_CHANNEL];
        listener.listen_all(terminals.into_iter().chain(workdays)).await?;
        for channel in [&self.gallery, &self.jobs, &self.workdays, &self.outbox] {
            channel.send_replace(()); // whatever was missed
        }
        let _ = self.terminals.send(None);
        while let Some(news) = listener.try_recv().await? {
            match news.channel() {
                db::GALLERY_CHANNEL => self.gallery.send_replace(()),
                db::JOB_CHANNEL => self.jobs.send_replace(()),
                db::WORKDAY_CHANNEL => self.workdays.send_replace(()),
                db::OUTBOX_CHANNEL => self.outbox.send_replace(()),
                db::TERMINAL_CHANNEL => drop(self.terminals.send(news.payload().parse().ok())),
                _ => {
                    for id in news.payload().split(',').filter_map(|id| id.parse().ok()) {
                        let _ = self.punches.send(id); // nobody may be listening
                    }
                }
            }
        }
        Ok(())
    }
}
