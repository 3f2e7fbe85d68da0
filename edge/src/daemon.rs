//! Starts, supervises and stops the threads and tasks of the daemon.

use std::os::unix::process::CommandExt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use models::{Eyes, Gallery, Pipeline};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::{self, Config, Misconfigured};
use crate::door::{self, Door, Signal};
use crate::gallery::GalleryStore;
use crate::health::Health;
use crate::hub_link::deliver::Delivery;
use crate::hub_link::link::Link;
use crate::hub_link::session::{History, Session};
use crate::identity::renew::Renewal;
use crate::identity::{Identity, pairing};
use crate::outbox::{Options, Outbox, support};
use crate::punching::Punching;
use crate::vision::{self, Slot};
use crate::{camera, metrics, service};

/// Capacity of the channel from vision to punching.
const OBSERVATIONS: usize = 64;
/// How long a stopping daemon may take.
const DRAIN: Duration = Duration::from_secs(10);

/// Reads everything that the daemon needs, for `run --check-config`.
pub fn check(config: &Config) -> Result<()> {
    install_crypto();
    let clock = Clock::open(config.clock.synchronised)?;
    let unpaired = config.hub.ca_sha256.is_some() && !config.hub.files(&config.state).certificate.exists();
    let identity = if unpaired { None } else { Some(Identity::read(config, clock)?) };
    let eyes = Eyes::open(config.vision.models.as_deref(), 1)?;
    if let config::Camera::Program { command, .. } = &config.camera {
        camera::program::find(command)
            .map_err(|error| Misconfigured(format!("camera.command: {error:#}")))?;
    }
    if !config.camera.is_real() {
        camera::open(&config.camera, config.vision.models.as_deref(), Instant::now())?;
    }
    let name = identity.map_or_else(|| "not paired yet".into(), |it| it.device.to_string());
    println!("terminal {name}: the configuration is valid (embedder {})", &eyes.embedder().sha256()[..12]);
    Ok(())
}

/// Why the daemon ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Stop,
    Restart,
}

/// Runs the daemon until it is stopped.
pub fn run(config: &Config, while_stdin: bool) -> Result<()> {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(supervise(config, while_stdin));
    runtime.shutdown_timeout(DRAIN);
    match result? {
        End::Stop => Ok(()),
        // In place, since nothing may be there to start it again.
        End::Restart => {
            service::restarting();
            door::close_on_exec();
            Err(Error::new(exec_self()).context("cannot restart"))
        }
    }
}

/// Replaces this process by a new one of the same program; returns only on failure.
fn exec_self() -> std::io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    std::process::Command::new("/proc/self/exe").arg0(name).args(arguments).exec()
}

/// Must run before any TLS.
pub fn install_crypto() {
    // Only fails where a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn not_running(config: &Config) -> Result<()> {
    let outbox = config.state.join("outbox");
    ensure!(
        !support::is_open(&outbox),
        "{} is in use by another rollcall-edge; stop it first",
        outbox.display()
    );
    Ok(())
}

/// Switches every output of the door off: a killed daemon may have left them on.
pub fn switch_off(config: &Config) -> Result<()> {
    not_running(config)?;
    door::off(&config.door)
}

/// What all parts of the daemon share.
struct Shared {
    stop: CancellationToken,
    restart: CancellationToken,
    health: Arc<Health>,
    door: mpsc::Sender<Signal>,
}

async fn supervise(config: &Config, while_stdin: bool) -> Result<End> {
    std::fs::create_dir_all(&config.state)
        .with_context(|| format!("cannot create {}", config.state.display()))?;
    // Before touching a pin: a second daemon must not take the door from the first.
    not_running(config)?;
    let health = Arc::new(Health::new(Uuid::now_v7()));
    // First of all, so that outputs are off and the exit button works.
    let door = Door::open(&config.door, health.clone()).await;
    health.set_relay(door.has_relay());
    let (send, receive) = mpsc::channel(16);
    let (stop, restart) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(door.run(receive, stop.clone()));
    let shared = Shared { stop: stop.clone(), restart, health, door: send };
    let ended = stopped(while_stdin);
    tokio::pin!(ended);
    let mut outcome = live(config, shared, &mut tasks, ended.as_mut()).await;
    if !matches!(outcome, Ok(End::Restart)) {
        service::stopping();
    }
    stop.cancel();
    let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    if matches!(outcome, Ok(End::Restart)) {
        // Stopped meanwhile?
        tokio::select! {
            biased;
            reason = ended => outcome = reason.map(stopping),
            () = std::future::ready(()) => {}
        }
    }
    drained.context("a part of the daemon did not stop in time").and(outcome)
}

/// Pairs if there is no certificate, then runs until stopped.
async fn live(
    config: &Config,
    shared: Shared,
    tasks: &mut JoinSet<Result<()>>,
    mut ended: Pin<&mut impl Future<Output = Result<&'static str>>>,
) -> Result<End> {
    let clock = Clock::open(config.clock.synchronised)?;
    tokio::select! {
        biased;
        paired = pairing::pair(config, clock) => paired?,
        reason = &mut ended => return reason.map(stopping),
        early = tasks.join_next() => return early_end(early),
        () = service::wait("waiting to be accepted at the hub") => {}
    }
    let restart = shared.restart.clone();
    start(config, shared, tasks)?;
    service::ready("started");
    tokio::select! {
        reason = &mut ended => reason.map(stopping),
        () = restart.cancelled() => {
            info!("restarting on command of the hub");
            Ok(End::Restart)
        }
        early = tasks.join_next() => early_end(early),
    }
}

/// A part that ends early ends the daemon.
fn early_end(task: Option<Result<Result<()>, JoinError>>) -> Result<End> {
    task.map_or(Ok(()), |task| task.context("a part of the daemon panicked")?).map(|()| End::Stop)
}

fn stopping(reason: &str) -> End {
    info!(reason, "stopping");
    End::Stop
}

/// Returns the reason when the daemon must stop.
async fn stopped(while_stdin: bool) -> Result<&'static str> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (closed, input_closed) = oneshot::channel();
    if while_stdin {
        // A separate thread: a read of standard input can't be cancelled.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = closed.send(());
        });
    }
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        Ok(()) = input_closed => "standard input closed",
    })
}

/// Opens everything and starts the parts.
fn start(config: &Config, shared: Shared, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    let Shared { stop, restart, health, door } = shared;
    let clock = Clock::open(config.clock.synchronised)?;
    let identity = Arc::new(Identity::read(config, clock.clone())?);
    let options = Options::new(&config.state.join("outbox"), config.outbox.limit_mb << 20);
    let outbox = Outbox::open(options)?;
    let eyes = Eyes::open(config.vision.models.as_deref(), 1)?;
    let embedder = eyes.embedder().sha256().to_owned();
    let gallery_store =
        GalleryStore::open(&config.state, &config.gallery_key(), &embedder, eyes.embedder().dimensions())?;
    info!(device.id = %identity.device, software = env!("CARGO_PKG_VERSION"), "terminal starts");

    let (observation_sender, observations) = mpsc::channel(OBSERVATIONS);
    let (gallery_send, gallery) = watch::channel(Arc::new(gallery_store.gallery()));
    let appended = Arc::new(Notify::new());
    let (link, sender, incoming) = Link::new(&config.hub, identity.clone())?;

    let renewal = Renewal {
        identity: identity.clone(),
        hub: config.hub.clone(),
        state: config.state.clone(),
        expired: link.expired(),
        health: health.clone(),
    };
    let punching = Punching {
        vision: config.vision.clone(),
        outbox: outbox.clone(),
        door: door.clone(),
        health: health.clone(),
        appended: appended.clone(),
    };
    let session = Session {
        delivery: Delivery::new(outbox.clone(), sender.clone()),
        outbox: outbox.clone(),
        sender,
        identity,
        gallery_store,
        embedder,
        gallery: gallery_send,
        door: door.clone(),
        health: health.clone(),
        clock: clock.clone(),
        state: config.state.clone(),
        history: History::open(&config.state),
        restart,
    };

    tasks.spawn(until(stop.clone(), renewal.run()));
    tasks.spawn(until(stop.clone(), link.run()));
    tasks.spawn(until(stop.clone(), session.run(incoming, appended)));
    tasks.spawn(punching.run(observations, stop.clone()));
    tasks.spawn(service::report(health.clone(), stop.clone()));
    if let Some(listen) = config.metrics.listen {
        let state = config.state.clone();
        let source = metrics::Source { health: health.clone(), outbox, clock: clock.clone(), state };
        tasks.spawn(until(stop.clone(), metrics::serve(listen, source)));
    }
    let threads = VisionThreads {
        slot: Arc::default(),
        gallery,
        observations: observation_sender,
        door,
        health,
        clock,
    };
    threads.start(tasks, config, eyes, &stop);
    Ok(())
}

/// The camera and vision threads with their channels.
struct VisionThreads {
    slot: Arc<Slot>,
    gallery: watch::Receiver<Arc<Gallery>>,
    observations: mpsc::Sender<vision::Observation>,
    door: mpsc::Sender<Signal>,
    health: Arc<Health>,
    clock: Clock,
}

impl VisionThreads {
    /// The threads may end with a recording; the daemon goes on.
    fn start(self, tasks: &mut JoinSet<Result<()>>, config: &Config, eyes: Eyes, stop: &CancellationToken) {
        let Self { slot, gallery, observations, door, health, clock } = self;
        let (choice, models) = (config.camera.clone(), config.vision.models.clone());
        let (frames, watching, watched) = (slot.clone(), stop.clone(), health.clone());
        let camera = tokio::task::spawn_blocking(move || {
            let observers = camera::Observers { door: &door, health: &watched };
            let result = camera::run(&choice, models.as_deref(), &frames, &observers, &watching);
            frames.close();
            result
        });
        let pipeline = Pipeline::new(eyes, config.vision.agreement).with_liveness(config.vision.liveness);
        let vision = tokio::task::spawn_blocking(move || {
            vision::run(pipeline, &slot, &gallery, &observations, &health, &clock)
        });
        for thread in [camera, vision] {
            let stop = stop.clone();
            tasks.spawn(async move {
                thread.await.context("a thread panicked")??;
                stop.cancelled().await;
                Ok(())
            });
        }
    }
}

/// Runs a part that must not end before the daemon stops.
async fn until(stop: CancellationToken, part: impl Future<Output = ()>) -> Result<()> {
    tokio::select! {
        () = part => if stop.is_cancelled() { Ok(()) } else { Err(anyhow::anyhow!("a part of the daemon ended")) },
        () = stop.cancelled() => Ok(()),
    }
}
