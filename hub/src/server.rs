//! The wiring: the only place that starts tasks, and stops them.

pub mod config;
mod https;
pub mod postgres;
pub mod routes;
mod sockets;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::DeviceId;
use sd_notify::NotifyState;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::crypto::ca::Authority;
use crate::crypto::vault::Vault;
use crate::limits::KeyedLimit;
use crate::mqtt::rejections::Rejections;
use crate::mqtt::{AccessListKeeper, Embedded, External};
use crate::people::gallery;
use crate::server::config::{Broker, Config};
use crate::server::https::Connections;
use crate::server::postgres::Cluster;
use crate::terminals::Fleet;
use crate::web::heavy;
use crate::web::state::App;
use crate::{clock, console, db, notifications, schedules, workdays};

/// How long a stopping hub may take.
const DRAIN: Duration = Duration::from_secs(10);
/// How often the private PostgreSQL is looked after.
const LOOK_AFTER: Duration = Duration::from_secs(3);
/// Connections to the database for delivery and recomputing: one a worker, some for who connects.
const DELIVERY_CONNECTIONS: u32 = 12;
/// HTTPS connections of one address, at most: those of an office behind one router.
const OF_ADDRESS: usize = 512;

/// The database, and the private cluster where there is one.
pub struct Database {
    /// Connections of the API, the console and commands.
    pub pool: PgPool,
    /// Connections of delivery and recomputing, which no number of reports may hold up.
    pub delivery: PgPool,
    /// The private cluster.
    pub cluster: Option<Cluster>,
}

impl Database {
    /// Connects to the configured database, or to one of the hub's own, and brings it up to date.
    pub async fn open(config: &Config) -> Result<Self> {
        let (options, cluster) = if let Some(url) = config.database_url()? {
            // The error would repeat the URL, which holds a password.
            let options: PgConnectOptions =
                url.parse().map_err(|_| anyhow::anyhow!("database_url_file holds no PostgreSQL URL"))?;
            (options, None)
        } else {
            let folder = config.state.join("pg");
            let cluster = tokio::task::spawn_blocking(move || Cluster::start(&folder)).await??;
            (cluster.options(), Some(cluster))
        };
        let pool = db::open(options).await?;
        let delivery = db::another(&pool, DELIVERY_CONNECTIONS);
        Ok(Self { pool, delivery, cluster })
    }

    /// Closes the connections, and stops the private cluster if `stop` says so.
    pub async fn close(self, stop: bool) {
        self.pool.close().await;
        self.delivery.close().await;
        if let (Some(cluster), true) = (self.cluster, stop) {
            let _ = tokio::task::spawn_blocking(move || cluster.stop()).await;
        }
    }
}

/// Opens the vault; a key that does not fit what is stored, or is missing, is refused.
pub async fn open_vault(config: &Config, pool: &PgPool) -> Result<Vault> {
    std::fs::create_dir_all(&config.state)
        .with_context(|| format!("cannot make {}", config.state.display()))?;
    let (file, mut conn) = (config.vault_key(), pool.acquire().await?);
    // A new key would soon take the place of the right one in the backups.
    let sealed = db::templates::with_other_key(&mut conn, "").await?;
    ensure!(
        sealed == 0 || file.exists(),
        "{} is missing, and {sealed} templates are sealed with it: put it back from a backup",
        file.display()
    );
    let vault = Vault::open(&file)?;
    let foreign = db::templates::with_other_key(&mut conn, vault.key_id()).await?;
    ensure!(
        foreign == 0,
        "{foreign} templates are sealed with another key than {}: put the right key back",
        file.display()
    );
    Ok(vault)
}

/// Opens the authority; one that accepted terminals trust is never made anew.
pub async fn open_authority(config: &Config, pool: &PgPool) -> Result<Authority> {
    let trusted = !db::terminals::accepted(&mut *pool.acquire().await?).await?.is_empty();
    Authority::open(&config.state.join("pki"), !trusted, clock::now())
}

/// A hub that runs.
pub struct Running {
    /// What handlers use.
    pub app: App,
    /// Where terminals connect, unless the broker is another program.
    pub mqtt: Option<SocketAddr>,
    /// Where browsers connect.
    pub https: SocketAddr,
    /// Signs terminals.
    pub authority: Arc<Authority>,
    database: Database,
    tasks: JoinSet<Result<()>>,
    stop: CancellationToken,
}

impl Running {
    /// The private cluster, if there is one.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.database.cluster.as_ref()
    }

    /// Runs until `done` returns or a part ends early, which is an error; then stops everything.
    pub async fn until<T>(mut self, done: impl Future<Output = Result<T>>) -> Result<T> {
        let outcome = tokio::select! {
            outcome = done => outcome,
            early = self.tasks.join_next() => Err(match early {
                Some(Ok(Err(error))) => error,
                Some(Err(panic)) => anyhow::Error::from(panic).context("a part of the hub panicked"),
                _ => anyhow::anyhow!("a part of the hub ended"),
            }),
        };
        self.stop.cancel();
        let drained =
            tokio::time::timeout(DRAIN, async { while self.tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            warn!("some part did not stop in time");
        }
        self.database.close(true).await;
        outcome
    }
}

/// Starts the hub.
pub async fn start(config: &Config) -> Result<Running> {
    let zone = config.time_zone()?;
    let shares = sockets::share_out();
    std::fs::create_dir_all(&config.state)
        .with_context(|| format!("cannot make {}", config.state.display()))?;
    let listener = TcpListener::bind(config.https)
        .with_context(|| format!("https: cannot listen on {}", config.https))?;
    let database = Database::open(config).await?;
    let authority = Arc::new(open_authority(config, &database.pool).await?);
    let (terminal_tls, browser_tls) = authority.tls(&config.names, clock::now())?;
    schedules::sites::follow(&database.pool, &config.zone, clock::now()).await?;
    let vault = Arc::new(open_vault(config, &database.pool).await?);
    let rejections = Arc::new(Rejections::default());
    let (terminals_send, _) = broadcast::channel(1024);
    let (committed, _) = broadcast::channel(1024);
    let (gallery_send, gallery_changed) = watch::channel(());
    let (jobs_send, jobs) = watch::channel(());
    let (workdays_send, workdays) = watch::channel(());
    let (outbox_send, outbox) = watch::channel(());
    let sender = notifications::Sender::open(config.mail.as_ref(), &config.webhooks)?;
    let stop = CancellationToken::new();
    let app = App {
        pool: database.pool.clone(),
        vault: vault.clone(),
        zone,
        policy: config.policy(),
        channels: config.channels(),
        models: config.models.clone(),
        punches: committed.clone(),
        authority: authority.clone(),
        own_broker: config.broker == Broker::Embedded,
        rejections: rejections.clone(),
        heavy: KeyedLimit::new(heavy::OF_ACCOUNT),
        streams: KeyedLimit::new(console::live::STREAMS),
        workdays,
        stop: stop.clone(),
    };
    let https_address = listener.local_addr()?;
    let mut tasks = JoinSet::new();
    let (mqtt_address, publisher, messages) = match config.external()? {
        None => {
            let pool = database.delivery.clone();
            let broker =
                Embedded::bind(config.mqtt, terminal_tls, shares.terminals, pool, rejections.clone()).await?;
            let (publisher, messages) = broker.link(authority.signer())?;
            let address = Some(broker.address()?);
            tasks.spawn(broker.serve(terminals_send.subscribe(), stop.clone()));
            (address, publisher, messages)
        }
        Some(settings) => {
            let (mut broker, publisher, messages) = External::new(settings, authority.signer())?;
            if settings.guests == AccessListKeeper::DynamicSecurity {
                let guests = broker.guests(database.delivery.clone(), terminals_send.subscribe());
                tasks.spawn(until_stopped(stop.clone(), guests.serve()));
            }
            tasks.spawn(until_stopped(stop.clone(), broker.serve()));
            (None, publisher, messages)
        }
    };
    let fleet = Fleet {
        pool: database.delivery.clone(),
        vault,
        authority: authority.clone(),
        publisher,
        rejections: rejections.clone(),
        own_broker: mqtt_address.is_some(),
        gallery_changed,
        terminals_changed: terminals_send.clone(),
    };
    tasks.spawn(until_stopped(stop.clone(), fleet.run(messages)));
    let news = News {
        committed,
        terminals: terminals_send,
        gallery: gallery_send,
        jobs: jobs_send,
        workdays: workdays_send,
        outbox: outbox_send,
    };
    tasks.spawn(until_stopped(stop.clone(), news.listen(database.delivery.clone())));
    tasks.spawn(until_stopped(
        stop.clone(),
        workdays::run(database.delivery.clone(), config.policy(), config.channels(), jobs),
    ));
    tasks.spawn(until_stopped(stop.clone(), gallery::follow_employments(database.delivery.clone())));
    tasks.spawn(notifications::run(database.delivery.clone(), sender, outbox, stop.clone()));
    let connections = Connections::new(shares.browsers, OF_ADDRESS.min(shares.browsers / 2));
    tasks.spawn(https::serve(listener, browser_tls, app.clone(), connections, stop.clone()));
    if let Some(cluster) = database.cluster.clone() {
        tasks.spawn(until_stopped(stop.clone(), look_after(cluster)));
    }
    info!(mqtt = ?mqtt_address, https = %https_address, software = env!("CARGO_PKG_VERSION"), "hub runs");
    Ok(Running { app, mqtt: mqtt_address, https: https_address, authority, database, tasks, stop })
}

/// Where systemd has asked for it.
fn tell_systemd(what: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(what)) {
        warn!(%error, "systemd does not listen");
    }
}

/// Runs the hub until it is told to stop.
pub async fn run(config: &Config) -> Result<()> {
    let running = start(config).await?;
    let terminals =
        running.mqtt.map_or_else(|| "by the external broker".into(), |address| address.to_string());
    println!("console https://{}  terminals {terminals}", running.https);
    info!(ca_sha256 = running.authority.fingerprint(), "new terminals are given this fingerprint");
    tell_systemd(&NotifyState::Ready);
    running
        .until(async {
            told_to_stop().await?;
            tell_systemd(&NotifyState::Stopping);
            Ok(())
        })
        .await
}

/// Returns when the process is told to stop.
pub async fn told_to_stop() -> Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => info!("SIGTERM: stopping"),
        _ = interrupt.recv() => info!("SIGINT: stopping"),
    }
    Ok(())
}

async fn until_stopped(stop: CancellationToken, part: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        result = part => result,
        () = stop.cancelled() => Ok(()),
    }
}

/// Passes on what the database announces, from this hub and any other.
struct News {
    committed: broadcast::Sender<Uuid>,
    terminals: broadcast::Sender<Option<DeviceId>>,
    gallery: watch::Sender<()>,
    jobs: watch::Sender<()>,
    workdays: watch::Sender<()>,
    outbox: watch::Sender<()>,
}

impl News {
    /// Comes back after the database did.
    async fn listen(self, pool: PgPool) -> Result<()> {
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
                        let _ = self.committed.send(id); // nobody may be listening
                    }
                }
            }
        }
        Ok(())
    }
}

/// Starts the private cluster again when it is gone.
async fn look_after(cluster: Cluster) -> Result<()> {
    loop {
        tokio::time::sleep(LOOK_AFTER).await;
        let cluster = cluster.clone();
        match tokio::task::spawn_blocking(move || cluster.ensure_running()).await? {
            Ok(true) => warn!("PostgreSQL was gone and runs again"),
            Ok(false) => {}
            Err(error) => warn!(error = format!("{error:#}"), "PostgreSQL is gone; trying again"),
        }
    }
}
