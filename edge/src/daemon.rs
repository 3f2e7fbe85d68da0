//! The wiring: the only place that starts threads and tasks, and stops them.

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
use crate::gallery::Roster;
use crate::health::Health;
use crate::hub_link::deliver::Delivery;
use crate::hub_link::link::Link;
use crate::hub_link::session::{Conversation, Memory};
use crate::identity::renew::Renewal;
use crate::identity::{Identity, pairing};
use crate::outbox::{Options, Outbox, support};
use crate::punching::Attendant;
use crate::vision::{self, Slot};
use crate::{camera, metrics, service};

/// Sightings between vision and decision.
const SEEN: usize = 64;
/// How long a stopping daemon may take.
const DRAIN: Duration = Duration::from_secs(10);

/// Reads everything that running needs, and says that it is right.
pub fn check(config: &Config) -> Result<()> {
    install_crypto();
    let clock = Clock::open(config.clock.synchronised)?;
    let claims = config.hub.ca_sha256.is_some() && !config.hub.files(&config.state).certificate.exists();
    let identity = if claims { None } else { Some(Identity::read(config, clock)?) };
    let eyes = Eyes::open(config.vision.models.as_deref(), 1)?;
    if let config::Camera::Program { command, .. } = &config.camera {
        camera::program::find(command)
            .map_err(|error| Misconfigured(format!("camera.command: {error:#}")))?;
    }
    if !config.camera.is_real() {
        camera::open(&config.camera, config.vision.models.as_deref(), Instant::now())?;
    }
    let name = identity.map_or_else(|| "without a certificate yet".into(), |it| it.device.to_string());
    println!("terminal {name}: the configuration is right (embedder {})", &eyes.embedder().sha256()[..12]);
    Ok(())
}

/// Why the daemon ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Stop,
    Restart,
}

/// Runs the terminal until it is told to stop.
pub fn run(config: &Config, while_stdin: bool) -> Result<()> {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(supervise(config, while_stdin));
    runtime.shutdown_timeout(DRAIN);
    match result? {
        End::Stop => Ok(()),
        // In place: also where nothing would start it again.
        End::Restart => {
            service::restarting();
            door::keep_to_ourselves();
            Err(Error::new(again()).context("cannot start again"))
        }
    }
}

/// Becomes a new process of the same program; returns only if that fails.
fn again() -> std::io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    std::process::Command::new("/proc/self/exe").arg0(name).args(arguments).exec()
}

/// Before anything that speaks TLS.
pub fn install_crypto() {
    // Only fails where a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn not_running(config: &Config) -> Result<()> {
    let outbox = config.state.join("outbox");
    ensure!(!support::is_open(&outbox), "{} is in use by another rollcall-edge", outbox.display());
    Ok(())
}

/// Switches every output of the door off: what a daemon that was killed may have left on.
pub fn switch_off(config: &Config) -> Result<()> {
    not_running(config)?;
    door::off(&config.door)
}

/// What the whole life of the daemon shares.
struct Life {
    stop: CancellationToken,
    restart: CancellationToken,
    health: Arc<Health>,
    door: mpsc::Sender<Signal>,
}

async fn supervise(config: &Config, while_stdin: bool) -> Result<End> {
    std::fs::create_dir_all(&config.state)
        .with_context(|| format!("cannot make {}", config.state.display()))?;
    // Before it touches a pin: a second daemon must not take the door from the first.
    not_running(config)?;
    let health = Arc::new(Health::new(Uuid::now_v7()));
    // First of all: what was left on is switched off, and who is inside gets out.
    let door = Door::open(&config.door, health.clone()).await;
    health.relay(door.has_relay());
    let (send, receive) = mpsc::channel(16);
    let (stop, restart) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(door.run(receive, stop.clone()));
    let life = Life { stop: stop.clone(), restart, health, door: send };
    let ended = stopped(while_stdin);
    tokio::pin!(ended);
    let mut outcome = live(config, life, &mut tasks, ended.as_mut()).await;
    if !matches!(outcome, Ok(End::Restart)) {
        service::stopping();
    }
    stop.cancel();
    let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    if matches!(outcome, Ok(End::Restart)) {
        // Told to stop meanwhile?
        tokio::select! {
            biased;
            reason = ended => outcome = reason.map(stopping),
            () = std::future::ready(()) => {}
        }
    }
    drained.context("some part did not stop in time").and(outcome)
}

/// Waits for a certificate, then runs, until something ends it.
async fn live(
    config: &Config,
    life: Life,
    tasks: &mut JoinSet<Result<()>>,
    mut ended: Pin<&mut impl Future<Output = Result<&'static str>>>,
) -> Result<End> {
    let clock = Clock::open(config.clock.synchronised)?;
    tokio::select! {
        biased;
        claimed = pairing::claim(config, clock) => claimed?,
        reason = &mut ended => return reason.map(stopping),
        early = tasks.join_next() => return early_end(early),
        () = service::wait("waits to be accepted at the hub") => {}
    }
    let restart = life.restart.clone();
    start(config, life, tasks)?;
    service::ready("started");
    tokio::select! {
        reason = &mut ended => reason.map(stopping),
        () = restart.cancelled() => {
            info!("starting again, as the hub asked");
            Ok(End::Restart)
        }
        early = tasks.join_next() => early_end(early),
    }
}

/// A part that ends before it is told to ends the daemon.
fn early_end(task: Option<Result<Result<()>, JoinError>>) -> Result<End> {
    task.map_or(Ok(()), |task| task.context("a part of the terminal panicked")?).map(|()| End::Stop)
}

fn stopping(reason: &str) -> End {
    info!(reason, "stopping");
    End::Stop
}

/// Returns when the daemon is to stop.
async fn stopped(while_stdin: bool) -> Result<&'static str> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (closed, input_closed) = oneshot::channel();
    if while_stdin {
        // A thread of its own: nothing can interrupt a read of standard input.
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

/// Opens everything and starts the parts. A part that ends early ends the daemon; the camera and
/// the eyes may end when a recording does.
fn start(config: &Config, life: Life, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    let Life { stop, restart, health, door } = life;
    let clock = Clock::open(config.clock.synchronised)?;
    let identity = Arc::new(Identity::read(config, clock.clone())?);
    let options = Options::new(&config.state.join("outbox"), config.outbox.limit_mb << 20);
    let outbox = Outbox::open(options)?;
    let eyes = Eyes::open(config.vision.models.as_deref(), 1)?;
    let embedder = eyes.embedder().sha256().to_owned();
    let roster = Roster::open(&config.state, &config.roster_key(), &embedder, eyes.embedder().dimensions())?;
    info!(device.id = %identity.device, software = env!("CARGO_PKG_VERSION"), "terminal starts");

    let (seen_send, seen_receive) = mpsc::channel(SEEN);
    let (gallery_send, gallery) = watch::channel(Arc::new(roster.gallery()));
    let appended = Arc::new(Notify::new());
    let (link, sender, incoming) = Link::new(&config.hub, identity.clone())?;

    let renewal = Renewal {
        identity: identity.clone(),
        hub: config.hub.clone(),
        state: config.state.clone(),
        refused: link.ended(),
        health: health.clone(),
    };
    let attendant = Attendant {
        policy: config.vision.clone(),
        outbox: outbox.clone(),
        door: door.clone(),
        health: health.clone(),
        appended: appended.clone(),
    };
    let conversation = Conversation {
        delivery: Delivery::new(outbox.clone(), sender.clone()),
        outbox: outbox.clone(),
        sender,
        identity,
        roster,
        embedder,
        gallery: gallery_send,
        door: door.clone(),
        health: health.clone(),
        clock: clock.clone(),
        state: config.state.clone(),
        memory: Memory::open(&config.state),
        restart,
    };

    tasks.spawn(until(stop.clone(), renewal.run()));
    tasks.spawn(until(stop.clone(), link.run()));
    tasks.spawn(until(stop.clone(), conversation.run(incoming, appended)));
    tasks.spawn(attendant.run(seen_receive, stop.clone()));
    tasks.spawn(service::report(health.clone(), stop.clone()));
    if let Some(listen) = config.metrics.listen {
        let state = config.state.clone();
        let source = metrics::Source { health: health.clone(), outbox, clock: clock.clone(), state };
        tasks.spawn(until(stop.clone(), metrics::serve(listen, source)));
    }
    let sight = Sight { slot: Arc::default(), gallery, seen: seen_send, door, health, clock };
    sight.start(tasks, config, eyes, &stop);
    Ok(())
}

/// Both ends of the hand-offs around the two threads that carry frames.
struct Sight {
    slot: Arc<Slot>,
    gallery: watch::Receiver<Arc<Gallery>>,
    seen: mpsc::Sender<vision::Seen>,
    door: mpsc::Sender<Signal>,
    health: Arc<Health>,
    clock: Clock,
}

impl Sight {
    /// Starts the two threads.
    fn start(self, tasks: &mut JoinSet<Result<()>>, config: &Config, eyes: Eyes, stop: &CancellationToken) {
        let Self { slot, gallery, seen, door, health, clock } = self;
        let (choice, models) = (config.camera.clone(), config.vision.models.clone());
        let (frames, watching, watched) = (slot.clone(), stop.clone(), health.clone());
        let camera = tokio::task::spawn_blocking(move || {
            let told = camera::Told { door: &door, health: &watched };
            let result = camera::run(&choice, models.as_deref(), &frames, &told, &watching);
            frames.close();
            result
        });
        let pipeline = Pipeline::new(eyes, config.vision.agreement).with_liveness(config.vision.liveness);
        let vision = tokio::task::spawn_blocking(move || {
            vision::run(pipeline, &slot, &gallery, &seen, &health, &clock)
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

/// Runs a part until it ends or the daemon stops.
async fn until(stop: CancellationToken, part: impl Future<Output = ()>) -> Result<()> {
    tokio::select! {
        () = part => if stop.is_cancelled() { Ok(()) } else { Err(anyhow::anyhow!("a part of the terminal ended")) },
        () = stop.cancelled() => Ok(()),
    }
}
