//! Every punch that got a green light is in PostgreSQL exactly once, whatever processes are killed and connections cut,
//! stalled, slowed, reordered or half-closed.
//!
//! `ROLLCALL_CHAOS_ROUNDS` (10) is the number of faults, `ROLLCALL_CHAOS_SEED` their seed (random and printed). A
//! seed replays the faults and their durations, but not the speed of the programs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tests::dir::TestDir;
use tests::eventually;
use tests::hub::Hub;
use tests::proxy::{Fault, Proxy, Side, Upstream};
use tests::terminal::{Terminal, Walk};

#[derive(Clone, Copy, Debug)]
enum Disruption {
    KillTerminal,
    KillHub,
    KillDatabase,
    /// Between terminal and hub.
    Network(Fault),
    /// Between hub and PostgreSQL.
    DatabaseNetwork(Fault),
}

fn disruptions() -> Vec<Disruption> {
    let mischief = [
        Fault::Cut,
        Fault::Stall,
        Fault::Slow { bytes_a_second: 2000 },
        Fault::HalfClose { towards: Side::Client },
        Fault::HalfClose { towards: Side::Server },
        Fault::Reorder,
    ];
    let mut disruptions = vec![Disruption::KillTerminal, Disruption::KillHub, Disruption::KillDatabase];
    disruptions.extend([Disruption::KillTerminal, Disruption::KillHub, Disruption::KillDatabase]); // twice as likely
    disruptions.extend(mischief.map(Disruption::Network));
    disruptions.extend(mischief.map(Disruption::DatabaseNetwork));
    disruptions
}

/// A hub, its database and a terminal, with proxies between them.
struct Setup {
    terminal: Terminal,
    hub: Hub,
    network: Proxy,
    database_network: Proxy,
    /// How often the terminal was killed.
    kills: usize,
    _dir: TestDir,
}

impl Setup {
    fn new(seed: u64) -> Result<Self> {
        let dir = TestDir::new()?;
        let mut hub = Hub::start_new(&dir)?;
        hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
        hub.enrol("1002", "Two", &["biden.jpg"])?;
        let photos = &[("obama3.jpg", false), ("biden.jpg", true)];
        let walk = Walk { photos, rate: 30, rearm_s: 0, for_ever: true };
        let terminal = Terminal::new(&dir, &hub, &walk)?;
        let network = Proxy::start(Upstream::Tcp(hub.mqtt), seed)?;
        replace(&terminal.config, &hub.mqtt.port().to_string(), &network.address().port().to_string())?;
        // From now on the hub uses its PostgreSQL as an external one, through the other proxy.
        let database_network = Proxy::start(Upstream::Unix(hub.cluster().socket()), seed + 1)?;
        hub.kill()?;
        let url = dir.join("url");
        std::fs::write(
            &url,
            format!("postgres://hub@127.0.0.1:{}/postgres", database_network.address().port()),
        )?;
        let text = std::fs::read_to_string(&hub.config)?;
        std::fs::write(&hub.config, format!("database_url_file = \"{}\"\n{text}", url.display()))?;
        hub.start()?;
        Ok(Self { terminal, hub, network, database_network, kills: 0, _dir: dir })
    }

    /// Causes a fault, waits, and ends it.
    async fn disrupt(&mut self, disruption: Disruption, pause: Duration) -> Result<()> {
        match disruption {
            Disruption::KillTerminal => {
                self.terminal.kill()?;
                self.kills += 1;
                tokio::time::sleep(pause / 4).await;
                self.terminal.start()?;
            }
            Disruption::KillHub => {
                self.hub.kill()?;
                tokio::time::sleep(pause).await;
                self.hub.start()?;
            }
            Disruption::KillDatabase => {
                self.hub.cluster().kill()?;
                tokio::time::sleep(pause).await;
                let cluster = self.hub.cluster();
                eventually("PostgreSQL to start", async || {
                    cluster.control(&["start", "-s", "-w", "-l", "/dev/null"])
                })
                .await?;
            }
            Disruption::Network(mischief) => {
                self.network.set(mischief);
                tokio::time::sleep(pause).await;
                self.network.set(Fault::None);
            }
            Disruption::DatabaseNetwork(mischief) => {
                self.database_network.set(mischief);
                tokio::time::sleep(pause).await;
                self.database_network.set(Fault::None);
            }
        }
        Ok(())
    }

    async fn wait_for_punches(&self) -> Result<()> {
        self.terminal.wait_until_durable(self.terminal.durable().len() + 10).await
    }

    /// Every punch that has had a green light is stored once. There may be others that a killed terminal had no time to
    /// print: one group of punches for each kill.
    async fn check_delivery(&self) -> Result<usize> {
        let durable = self.terminal.durable();
        self.terminal.wait_until_delivered(&self.hub).await?;
        let arrived = self.hub.cluster().punches().await?;
        tokio::time::sleep(Duration::from_millis(300)).await; // punches that have just arrived are printed by then
        let printed = self.terminal.durable();
        let more = arrived.keys().filter(|id| !printed.contains(id)).count();
        ensure!(more <= 2 * self.kills, "{more} punches that no terminal printed, {} kills", self.kills);
        for table in ["quarantine", "dead_letters"] {
            let count = self.hub.cluster().number(&format!("select count(*) from {table}")).await?;
            ensure!(count == 0, "{count} rows in {table}");
        }
        Ok(durable.len())
    }
}

fn replace(file: &std::path::Path, from: &str, to: &str) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    ensure!(text.contains(from), "{from} is not in {}", file.display());
    Ok(std::fs::write(file, text.replace(from, to))?)
}

fn setting(name: &str) -> Result<Option<u64>> {
    std::env::var(name).ok().map(|text| text.parse().with_context(|| format!("{name}: {text:?}"))).transpose()
}

async fn rounds(seed: u64, count: u64) -> Result<()> {
    let mut chance = StdRng::seed_from_u64(seed);
    let disruptions = disruptions();
    let mut setup = Setup::new(seed)?;
    setup.terminal.start()?;
    setup.wait_for_punches().await?;
    for round in 1..=count {
        let begun = Instant::now();
        let mut struck = Vec::new();
        for _ in 0..chance.random_range(1..=3) {
            let disruption = *disruptions.choose(&mut chance).context("a disruption")?;
            let pause = Duration::from_millis(chance.random_range(50..1500));
            struck.push((disruption, pause));
            setup.disrupt(disruption, pause).await.with_context(|| format!("round {round}: {struck:?}"))?;
        }
        let told = || format!("round {round}: {struck:?}");
        setup.wait_for_punches().await.with_context(told)?;
        let arrived = setup.check_delivery().await.with_context(told)?;
        println!("round {round}: {arrived} punches, {:.1} s, {struck:?}", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_lose_and_duplicate_no_punch() -> Result<()> {
    let seed = setting("ROLLCALL_CHAOS_SEED")?.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let count = setting("ROLLCALL_CHAOS_ROUNDS")?.unwrap_or(10);
    println!("chaos: seed {seed}, {count} rounds");
    rounds(seed, count).await.with_context(|| format!("replay with ROLLCALL_CHAOS_SEED={seed}"))
}
