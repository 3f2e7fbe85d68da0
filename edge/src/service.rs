//! What systemd is told, where it asks: that the terminal runs, and that it is not stuck.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::health::Health;

/// Between two words where no watchdog is set.
const STATUS: Duration = Duration::from_secs(10);

/// The terminal has started.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Watchdog, NotifyState::Status(status)]);
}

/// It ends, and does not start again by itself.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// It starts again in place, which takes a while.
pub fn restarting() {
    tell(&[NotifyState::Watchdog, NotifyState::Status("starting again")]);
}

/// Says how the terminal is, and feeds the watchdog while frames advance: a thread that hangs has the
/// terminal started again.
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
            tell(&[NotifyState::Watchdog]);
        } else if watchdog.is_some() {
            error!("nothing has advanced since the watchdog was last fed");
        }
        let status = match (camera.up, health.connected()) {
            (true, true) => format!("{} frames, connected", health.frames()),
            (true, false) => format!("{} frames, the hub is out of reach; punches are kept", health.frames()),
            (false, _) => health.alarms().first().cloned().unwrap_or_else(|| "no frames".into()),
        };
        tell(&[NotifyState::Status(&status)]);
    }
}

/// Keeps the watchdog quiet while the terminal waits for something that takes as long as it takes.
pub async fn wait(status: &str) {
    ready(status);
    let pause = sd_notify::watchdog_enabled().map_or(STATUS, |limit| limit / 4);
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(pause).await;
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        debug!(%error, "systemd does not listen");
    }
}
