//! The wiring: the only place that starts threads and tasks, and stops them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use models::{Eyes, Gallery, Pipeline};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

use crate::attend::Attendant;
use crate::camera;
use crate::claim;
use crate::clock::Clock;
use crate::config::Config;
use crate::converse::{Conversation, Memory};
use crate::deliver::Delivery;
use crate::door::{Door, Signal};
use crate::health::Health;
use crate::identity::Identity;
use crate::link::Link;
use crate::outbox::{Options, Outbox};
use crate::roster::Roster;
use crate::vision::{self, Slot};

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
    if !matches!(config.camera, crate::config::Camera::V4l2 { .. }) {
        camera::open(&config.camera, config.vision.models.as_deref(), Instant::now())?;
    }
    let name = identity.map_or_else(|| "without a certificate yet".into(), |it| it.device.to_string());
    println!("terminal {name}: the configuration is right (embedder {})", &eyes.embedder().sha256()[..12]);
    Ok(())
}

/// Runs the terminal until it is told to stop.
pub fn run(config: &Config, while_stdin: bool) -> Result<()> {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(supervise(config, while_stdin));
    runtime.shutdown_timeout(DRAIN);
    result
}

fn install_crypto() {
    // Only fails where a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn supervise(config: &Config, while_stdin: bool) -> Result<()> {
    std::fs::create_dir_all(&config.state)
        .with_context(|| format!("cannot make {}", config.state.display()))?;
    let ended = stopped(while_stdin);
    tokio::pin!(ended);
    let clock = Clock::open(config.clock.synchronised)?;
    tokio::select! {
        claimed = claim::claim(config, clock) => claimed?,
        reason = &mut ended => return reason.map(|reason| info!(reason, "stopping")),
    }
    let stop = CancellationToken::new();
    let mut tasks = start(config, &stop)?;
    let outcome = tokio::select! {
        reason = &mut ended => reason.map(|reason| info!(reason, "stopping")),
        early = tasks.join_next() => early.map_or(Ok(()), |task| task.context("a part of the terminal panicked")?),
    };
    stop.cancel();
    let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    outcome.and(drained.context("some part did not stop in time"))
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
fn start(config: &Config, stop: &CancellationToken) -> Result<JoinSet<Result<()>>> {
    let clock = Clock::open(config.clock.synchronised)?;
    let identity = Arc::new(Identity::read(config, clock.clone())?);
    let options = Options::new(&config.state.join("outbox"), config.outbox.limit_mb << 20);
    let outbox = Outbox::open(options)?;
    let eyes = Eyes::open(config.vision.models.as_deref(), 1)?;
    let embedder = eyes.embedder().sha256().to_owned();
    let roster = Roster::open(&config.state, &config.roster.key, &embedder, eyes.embedder().dimensions())?;
    let door = Door::open(&config.door)?;
    let health = Arc::new(Health::new(Uuid::now_v7()));
    info!(device.id = %identity.device, software = env!("CARGO_PKG_VERSION"), "terminal starts");

    let (door_send, door_receive) = mpsc::channel(16);
    let (seen_send, seen_receive) = mpsc::channel(SEEN);
    let (gallery_send, gallery) = watch::channel(Arc::new(roster.gallery()));
    let appended = Arc::new(Notify::new());
    let (link, sender, incoming) = Link::new(&config.hub, identity.clone())?;

    let attendant = Attendant {
        policy: config.vision.clone(),
        outbox: outbox.clone(),
        door: door_send.clone(),
        health: health.clone(),
        appended: appended.clone(),
    };
    let conversation = Conversation {
        delivery: Delivery::new(outbox.clone(), sender.clone()),
        outbox,
        sender,
        identity,
        roster,
        embedder,
        gallery: gallery_send,
        door: door_send.clone(),
        health: health.clone(),
        clock: clock.clone(),
        memory: Memory::open(&config.state),
    };

    let mut tasks = JoinSet::new();
    tasks.spawn(door.run(door_receive, stop.clone()));
    tasks.spawn(until(stop.clone(), link.run()));
    tasks.spawn(until(stop.clone(), conversation.run(incoming, appended)));
    tasks.spawn(attendant.run(seen_receive, stop.clone()));
    let sight = Sight { slot: Arc::default(), gallery, seen: seen_send, door: door_send, health, clock };
    sight.start(&mut tasks, config, eyes, stop);
    Ok(tasks)
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
        let (frames, watching) = (slot.clone(), stop.clone());
        let camera = tokio::task::spawn_blocking(move || {
            let result = camera::run(&choice, models.as_deref(), &frames, &door, &watching);
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
