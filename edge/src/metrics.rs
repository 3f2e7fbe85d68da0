//! Prometheus metrics, on a loopback address.

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

const INTERVAL: Duration = Duration::from_secs(1);
/// Updates between two reads of the machine, which take longer.
const MACHINE_EVERY: u32 = 15;

pub struct Source {
    pub health: Arc<Health>,
    pub outbox: Outbox,
    pub clock: Clock,
    pub state: PathBuf,
}

/// Serves metrics for ever. A failure is logged and affects nothing else.
pub async fn serve(listen: SocketAddr, source: Source) {
    if let Err(error) = try_to_serve(listen, source).await {
        error!(error = format!("{error:#}"), "cannot serve metrics; see metrics.listen in edge.toml");
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
    let updates = async {
        let mut ticks = tokio::time::interval(INTERVAL);
        for tick in 0_u32.. {
            ticks.tick().await;
            source.update(tick.is_multiple_of(MACHINE_EVERY));
        }
    };
    tokio::select! {
        served = listener => served.map_err(|error| anyhow::anyhow!("metrics.listen {listen}: {error:?}")),
        () = updates => Ok(()),
    }
}

fn describe() {
    describe_gauge!("rollcall_info", "Always 1; the label is the release.");
    describe_counter!("rollcall_frames_total", "Frames processed.");
    describe_counter!("rollcall_punches_total", "Punches made durable.");
    describe_counter!("rollcall_camera_faults_total", "How often the camera failed.");
    describe_gauge!("rollcall_camera_up", "Whether the camera gives frames.");
    describe_gauge!("rollcall_connected", "Whether the hub is connected.");
    describe_gauge!("rollcall_queued_punches", "Punches waiting for the hub's receipt.");
    describe_gauge!("rollcall_clock_synchronised", "Whether the clock is synchronised.");
    describe_gauge!("rollcall_alarms", "Active alarms.");
    describe_gauge!("rollcall_disk_free_bytes", "Free space on the disk of the outbox.");
    describe_gauge!("rollcall_temperature_celsius", "Temperature of the warmest thermal zone.");
}

impl Source {
    fn update(&self, with_machine: bool) {
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
        if with_machine {
            let machine = Machine::read(&self.state);
            gauge!("rollcall_disk_free_bytes").set((machine.free_mb << 20) as f64);
            if let Some(degrees) = machine.temperature_c {
                gauge!("rollcall_temperature_celsius").set(f64::from(degrees));
            }
        }
    }
}
