//! The wiring: the only place that starts tasks, and stops them.

pub mod config;
mod events;
mod https;
pub mod postgres;
pub mod routes;
mod sockets;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::ServerConfig;
use sd_notify::NotifyState;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::crypto::ca::Authority;
use crate::crypto::vault::Vault;
use crate::limits::KeyedLimit;
use crate::mqtt::rejections::Rejections;
use crate::mqtt::{AccessListKeeper, Embedded, External, Message, Publisher};
use crate::people::gallery;
use crate::server::config::{Broker, Config};
use crate::server::events::Events;
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
    parts: Parts,
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
            early = self.parts.running.join_next() => Err(match early {
                Some(Ok(Err(error))) => error,
                Some(Err(panic)) => anyhow::Error::from(panic).context("a part of the hub panicked"),
                _ => anyhow::anyhow!("a part of the hub ended"),
            }),
        };
        self.parts.stop().await;
        self.database.close(true).await;
        outcome
    }
}

/// What runs side by side, and ends together.
#[derive(Default)]
struct Parts {
    running: JoinSet<Result<()>>,
    stop: CancellationToken,
}

impl Parts {
    /// Starts a part that may be dropped wherever it stands.
    fn start(&mut self, part: impl Future<Output = Result<()>> + Send + 'static) {
        let stop = self.stop.clone();
        self.running.spawn(async move {
            tokio::select! {
                result = part => result,
                () = stop.cancelled() => Ok(()),
            }
        });
    }

    /// Starts a part that ends by itself when it is told to.
    fn start_draining<F>(&mut self, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.running.spawn(part(self.stop.clone()));
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        let drained = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            warn!("some part did not stop in time");
        }
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
    let delivery = &database.delivery;
    let authority = Arc::new(open_authority(config, &database.pool).await?);
    let (terminal_tls, browser_tls) = authority.tls(&config.names, clock::now())?;
    schedules::sites::follow(&database.pool, &config.zone, clock::now()).await?;
    let sender = notifications::Sender::open(config.mail.as_ref(), &config.webhooks)?;
    let (events, mut parts) = (Events::default(), Parts::default());
    let app = App {
        pool: database.pool.clone(),
        vault: Arc::new(open_vault(config, &database.pool).await?),
        zone,
        policy: config.policy(),
        channels: config.channels(),
        models: config.models.clone(),
        punches: events.punches.clone(),
        authority: authority.clone(),
        own_broker: config.broker == Broker::Embedded,
        rejections: Arc::new(Rejections::default()),
        heavy: KeyedLimit::new(heavy::OF_ACCOUNT),
        streams: KeyedLimit::new(console::live::STREAMS),
        workdays: events.workdays.subscribe(),
        stop: parts.stop.clone(),
    };
    let tls = (terminal_tls, shares.terminals);
    let (mqtt, publisher, messages) = broker(config, &app, tls, delivery, &events, &mut parts).await?;
    let fleet = Fleet {
        pool: delivery.clone(),
        vault: app.vault.clone(),
        authority: authority.clone(),
        publisher,
        rejections: app.rejections.clone(),
        own_broker: app.own_broker,
        gallery_changed: events.gallery.subscribe(),
        terminals_changed: events.terminals.clone(),
    };
    parts.start(fleet.run(messages));
    parts.start(workdays::run(delivery.clone(), app.policy, app.channels.clone(), events.jobs.subscribe()));
    parts.start(gallery::follow_employments(delivery.clone()));
    parts
        .start_draining(|stop| notifications::run(delivery.clone(), sender, events.outbox.subscribe(), stop));
    parts.start(events.listen(delivery.clone()));
    let https = listener.local_addr()?;
    let connections = Connections::new(shares.browsers, OF_ADDRESS.min(shares.browsers / 2));
    parts.start_draining(|stop| https::serve(listener, browser_tls, app.clone(), connections, stop));
    if let Some(cluster) = database.cluster.clone() {
        parts.start(look_after(cluster));
    }
    info!(?mqtt, %https, software = env!("CARGO_PKG_VERSION"), "hub runs");
    Ok(Running { app, mqtt, https, authority, database, parts })
}

/// Starts the broker, or the connection to an external one. Returns where terminals connect to it, unless it is another
/// program, and its messages in both directions.
async fn broker(
    config: &Config,
    app: &App,
    (tls, connections): (ServerConfig, usize),
    pool: &PgPool,
    events: &Events,
    parts: &mut Parts,
) -> Result<(Option<SocketAddr>, Publisher, mpsc::Receiver<Message>)> {
    let (signer, changed) = (app.authority.signer(), events.terminals.subscribe());
    let Some(settings) = config.external()? else {
        let rejections = app.rejections.clone();
        let broker = Embedded::bind(config.mqtt, tls, connections, pool.clone(), rejections).await?;
        let (publisher, messages) = broker.link(signer)?;
        let address = broker.address()?;
        parts.start_draining(|stop| broker.serve(changed, stop));
        return Ok((Some(address), publisher, messages));
    };
    let (mut broker, publisher, messages) = External::new(settings, signer)?;
    if settings.access_list == AccessListKeeper::DynamicSecurity {
        parts.start(broker.access_list(pool.clone(), changed).serve());
    }
    parts.start(broker.serve());
    Ok((None, publisher, messages))
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
