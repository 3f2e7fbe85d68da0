//! The same numbers for Prometheus, on an address of this machine alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing::error;

use crate::clock::Clock;
use crate::health::Health;
use crate::machine::Machine;
use crate::outbox::Outbox;

/// Between two looks at the numbers.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two at the machine, which take longer.
const MACHINE: u32 = 15;

/// Where the numbers come from.
pub struct Source {
    /// Counters.
    pub health: Arc<Health>,
    /// What waits.
    pub outbox: Outbox,
    /// Whether it is right.
    pub clock: Clock,
    /// The folder that must not be full.
    pub state: PathBuf,
}

/// Serves the numbers, for ever. Where it can't, people are counted all the same.
pub async fn serve(listen: SocketAddr, source: Source) {
    if let Err(error) = try_to_serve(listen, source).await {
        error!(error = format!("{error:#}"), "there are no metrics");
    }
    std::future::pending::<()>().await;
}

async fn try_to_serve(listen: SocketAddr, source: Source) -> Result<()> {
    let (recorder, listener) = PrometheusBuilder::new()
        .with_http_listener(listen)
        .build()
        .with_context(|| format!("metrics.listen {listen}"))?;
    metrics::set_global_recorder(recorder).context("metrics")?;
    describe();
    gauge!("rollcall_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    let looks = async {
        let mut ticks = tokio::time::interval(LOOK);
        for look in 0_u32.. {
            ticks.tick().await;
            source.look(look.is_multiple_of(MACHINE));
        }
    };
    tokio::select! {
        served = listener => served.map_err(|error| anyhow::anyhow!("metrics.listen {listen}: {error:?}")),
        () = looks => Ok(()),
    }
}

fn describe() {
    describe_gauge!("rollcall_info", "1; the release is in its label.");
    describe_counter!("rollcall_frames_total", "Frames looked at.");
    describe_counter!("rollcall_punches_total", "Punches made durable.");
    describe_counter!("rollcall_camera_faults_total", "How often the camera failed.");
    describe_gauge!("rollcall_camera_up", "Whether frames come.");
    describe_gauge!("rollcall_connected", "Whether the hub is connected.");
    describe_gauge!("rollcall_queued_punches", "Punches that wait for the hub's receipt.");
    describe_gauge!("rollcall_clock_synchronised", "Whether the clock is known to be right.");
    describe_gauge!("rollcall_alarms", "What is wrong: 0 where all is well.");
    describe_gauge!("rollcall_disk_free_bytes", "Room for the outbox.");
    describe_gauge!("rollcall_temperature_celsius", "The machine's warmest part.");
}

impl Source {
    fn look(&self, at_machine: bool) {
        let camera = self.health.camera();
        counter!("rollcall_frames_total").absolute(self.health.frames());
        counter!("rollcall_punches_total").absolute(self.health.punches());
        counter!("rollcall_camera_faults_total").absolute(camera.faults);
        gauge!("rollcall_camera_up").set(f64::from(u8::from(camera.up)));
        gauge!("rollcall_connected").set(f64::from(u8::from(self.health.connected())));
        gauge!("rollcall_queued_punches").set(self.outbox.queued() as f64);
        gauge!("rollcall_clock_synchronised").set(f64::from(u8::from(self.clock.now().synchronised)));
        let alarms = self.health.alarms().len() + usize::from(self.outbox.alarm().is_some());
        gauge!("rollcall_alarms").set(alarms as f64);
        if at_machine {
            let machine = Machine::look(&self.state);
            gauge!("rollcall_disk_free_bytes").set((machine.free_mb << 20) as f64);
            if let Some(degrees) = machine.temperature_c {
                gauge!("rollcall_temperature_celsius").set(f64::from(degrees));
            }
        }
    }
}
