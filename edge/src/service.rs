//! Notifications to systemd: readiness, status and watchdog.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::health::Health;

/// Between two notifications without a watchdog.
const STATUS: Duration = Duration::from_secs(10);

pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Watchdog, NotifyState::Status(status)]);
}

pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The daemon is about to replace itself, which takes a while.
pub fn restarting() {
    notify(&[NotifyState::Watchdog, NotifyState::Status("restarting")]);
}

/// Reports the status, and feeds the watchdog while frames advance: when a thread hangs, systemd restarts the daemon.
pub async fn report(health: Arc<Health>, stop: CancellationToken) -> Result<()> {
    let watchdog = sd_notify::watchdog_enabled();
    let pause = watchdog.map_or(STATUS, |limit| limit / 8);
    let mut before = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Ok(()),
        }
        let progress = health.progress();
        let camera = health.camera();
        if before.replace(progress) != Some(progress) || camera.ended {
            notify(&[NotifyState::Watchdog]);
        } else if watchdog.is_some() {
            error!("no progress since the last watchdog notification; systemd will restart the daemon");
        }
        let status = match (camera.up, health.connected()) {
            (true, true) => format!("{} frames, connected", health.frames()),
            (true, false) => format!("{} frames, hub unreachable; punches are kept", health.frames()),
            (false, _) => health.alarms().first().cloned().unwrap_or_else(|| "no frames".into()),
        };
        notify(&[NotifyState::Status(&status)]);
    }
}

/// Feeds the watchdog while the terminal waits for people.
pub async fn wait(status: &str) {
    ready(status);
    let pause = sd_notify::watchdog_enabled().map_or(STATUS, |limit| limit / 4);
    loop {
        notify(&[NotifyState::Watchdog]);
        tokio::time::sleep(pause).await;
    }
}

fn notify(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        debug!(%error, "cannot notify systemd");
    }
}
