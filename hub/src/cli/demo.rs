//! The demonstration: a real hub and a real terminal on one machine. Only the camera is played:
//! three photos are carried past it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use jiff::tz::TimeZone;
use proto::DeviceId;
use tokio::process::{Child, Command};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::accounts::{self, Actor, Role};
use crate::crypto::ca::Authority;
use crate::db::people::PersonFilter;
use crate::db::workdays::Status;
use crate::error::{Error, Problem};
use crate::people::{self, enrolment};
use crate::person::PersonNumber;
use crate::reports::timesheet::{Period, timesheet};
use crate::server::config::{Broker, Config, default_state};
use crate::server::postgres::Cluster;
use crate::server::{self, Running};
use crate::terminals::signing::sign;
use crate::web::state::App;
use crate::{clock, db, reports};

/// Marks a folder as one that the demonstration may delete.
const MARK: &str = "rollcall-demo";
/// Who the audit names.
static ACTOR: LazyLock<Actor> =
    LazyLock::new(|| Actor { name: "demo".to_owned(), role: Role::Admin, person: None });
/// The camera's frames a second.
const RATE: u32 = 15;
/// Without --once, everybody walks past again after so many seconds: longer than the minute
/// within which a second punch is a duplicate.
const AGAIN_S: u32 = 75;
/// Before the first passes, the terminal must have its gallery: without one, all faces are unknown.
const START_S: u32 = 3;
/// All passes with what is between them, several times over.
const PATIENCE: Duration = Duration::from_secs(90);
/// After the stranger left: whatever else is on its way has come by then.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// The terminal is started again this often.
const RESTARTS: u32 = 20;

/// Show it all on this machine.
#[derive(Args)]
pub struct Demo {
    /// The folder of photos that deploy/photos.sh fetches.
    #[arg(long, value_name = "FOLDER", default_value = "deploy/photos")]
    photos: PathBuf,
    /// Where the demonstration keeps its state [default: `demo` in Rollcall's state folder].
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Start with fresh state, let everybody walk past once, print the timesheet and end.
    #[arg(long)]
    once: bool,
}

/// Somebody who is enrolled.
struct Enrolled {
    number: &'static str,
    name: &'static str,
    photos: &'static [&'static str],
}

const ENROLLED: [Enrolled; 2] = [
    Enrolled { number: "1001", name: "Barack Obama", photos: &["obama.jpg", "obama2.jpg"] },
    Enrolled { number: "1002", name: "Joe Biden", photos: &["biden.jpg"] },
];

impl Demo {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        let photos = self.photos.canonicalize().with_context(|| {
            format!("there are no photos in {}: run deploy/photos.sh", self.photos.display())
        })?;
        let state = std::path::absolute(self.state.clone().unwrap_or_else(demo_state))?;
        prepare(&state, self.once)?;
        let config = config(&state);
        let running = server::start(&config).await?;
        let password = Zeroizing::new(hex::encode(rand::random::<[u8; 8]>()));
        introduce(&running, &state, &password);
        let show = Show { photos, state, once: self.once, app: running.app.clone() };
        let (authority, mqtt) = (running.authority.clone(), running.mqtt);
        let story = Box::pin(async move {
            accounts::create(&show.app.pool, "demo", Role::Hr, None, password, true).await?;
            let device = show.terminal(&authority).await?;
            let port = mqtt.context("the demonstration has a broker of its own")?.port();
            show.enrol().await?;
            show.run(device, port).await
        });
        running.until(story).await
    }
}

/// The folder of the demonstration's state.
fn demo_state() -> PathBuf {
    default_state().join("demo")
}

fn config(state: &Path) -> Config {
    Config {
        state: state.join("hub"),
        zone: TimeZone::system().iana_name().unwrap_or("UTC").to_owned(),
        duplicate_within_s: 60,
        names: vec!["localhost".into(), "127.0.0.1".into()],
        mqtt: ([127, 0, 0, 1], 0).into(),
        https: ([127, 0, 0, 1], 0).into(),
        database_url_file: None,
        vault_key: None,
        models: None,
        broker: Broker::Embedded,
        external: None,
        mail: None,
        webhooks: Vec::new(),
    }
}

/// Makes the state folder, empty if `fresh`.
fn prepare(state: &Path, fresh: bool) -> Result<()> {
    let empty = std::fs::read_dir(state).is_ok_and(|mut entries| entries.next().is_none());
    if state.exists() && !empty {
        ensure!(
            state.join(MARK).exists(),
            "{} holds something else: choose another --state",
            state.display()
        );
        if fresh {
            Cluster::end(&state.join("hub/pg"))?;
            std::fs::remove_dir_all(state).with_context(|| format!("cannot delete {}", state.display()))?;
        }
    }
    std::fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
    std::fs::write(state.join(MARK), "This folder may be deleted.\n")
        .with_context(|| format!("cannot write to {}", state.display()))
}

fn introduce(running: &Running, state: &Path, password: &str) {
    println!("Rollcall demonstration: a hub, its PostgreSQL and a terminal, all on this machine.");
    println!(
        "  console    https://localhost:{}   (your browser does not know its certificate yet)",
        running.https.port()
    );
    println!("  log in as  demo   password  {password}");
    println!("  state      {}", state.display());
    if let Some(cluster) = running.cluster() {
        println!("  database   psql -h {} -U hub postgres", cluster.socket().display());
    }
    println!(
        "Liveness is off: the faces are flat photos carried past the lens, and liveness exists to refuse those."
    );
}

/// What the demonstration needs while it runs.
struct Show {
    photos: PathBuf,
    state: PathBuf,
    once: bool,
    app: App,
}

impl Show {
    /// Enrols the two people, as HR would.
    async fn enrol(&self) -> Result<()> {
        let pool = &self.app.pool;
        for person in &ENROLLED {
            let number = PersonNumber::from(person.number);
            match people::add(pool, &ACTOR, &number, person.name).await {
                Ok(_) | Err(Error::Problem { problem: Problem::NumberTaken { .. }, .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if people::search(pool, &ACTOR, PersonFilter::default(), i64::MAX)
                .await?
                .iter()
                .any(|p| p.number == number && p.photos > 0)
            {
                continue;
            }
            people::consent(pool, &ACTOR, &number).await?;
            let files: Vec<PathBuf> = person.photos.iter().map(|photo| self.photos.join(photo)).collect();
            let photos = enrolment::read_photos(&files)?;
            enrolment::enrol(pool, &self.app.vault, None, &ACTOR, &number, photos).await?;
            println!(
                "enrolled {} {} from {} (the photos are not kept)",
                person.number,
                person.name,
                person.photos.join(" and ")
            );
        }
        Ok(())
    }

    /// Makes the terminal's key, signs its request and writes its configuration.
    async fn terminal(&self, authority: &Authority) -> Result<DeviceId> {
        let folder = self.state.join("terminal");
        let made = Command::new(edge()?).arg("csr").arg("--state").arg(&folder).output().await;
        let made = made.context("cannot run rollcall-edge")?;
        ensure!(made.status.success(), "rollcall-edge csr: {}", String::from_utf8_lossy(&made.stderr).trim());
        let request = std::fs::read_to_string(folder.join("terminal.csr"))?;
        let device = sign(&self.app.pool, authority, &request, "Front door", &folder, true).await?;
        Ok(device)
    }

    fn write_config(&self, port: u16) -> Result<PathBuf> {
        let folder = self.state.join("terminal");
        let photo = |name: &str| self.photos.join(name);
        let quoted = |path: PathBuf| toml::Value::String(path.display().to_string());
        let again = if self.once { String::new() } else { format!("repeat_after_s = {AGAIN_S}\n") };
        let text = format!(
            "state = {state}\n\
            [hub]\nhost = \"127.0.0.1\"\nport = {port}\nca = {ca}\ncertificate = {certificate}\nkey = {key}\n\
            [gallery]\nkey = {roster}\n\
            [clock]\nsynchronised = \"always\"\n\
            [camera]\nkind = \"walk\"\nrate = {RATE}\nstart_after_s = {START_S}\n{again}\
            passes = [{{ photo = {first} }}, {{ photo = {second}, relit = true }}, {{ photo = {stranger} }}]\n",
            state = quoted(folder.clone()),
            ca = quoted(folder.join("ca.pem")),
            certificate = quoted(folder.join("terminal.pem")),
            key = quoted(folder.join("terminal.key")),
            roster = quoted(folder.join("roster.key")),
            first = quoted(photo("obama3.jpg")),
            second = quoted(photo("biden.jpg")),
            stranger = quoted(photo("astronaut.png")),
        );
        let file = folder.join("edge.toml");
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// Starts the terminal. It ends when its standard input closes, that is, with the hub.
    fn start_terminal(&self, config: &Path) -> Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        Command::new(edge()?)
            .args(["run", "--while-stdin", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::inherit())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start rollcall-edge")
    }

    fn log(&self) -> PathBuf {
        self.state.join("terminal/log")
    }

    /// Lets everybody pass and shows what comes of it.
    async fn run(self, device: DeviceId, port: u16) -> Result<()> {
        let mut committed = self.app.punches.subscribe();
        let config = self.write_config(port)?;
        println!(
            "walking past: obama3.jpg, not one of the two enrolled; biden.jpg again, but relit, rescaled and"
        );
        println!("noisy, as there is no second photo; then astronaut.png, a stranger");
        let mut terminal = self.start_terminal(&config)?;
        println!(
            "terminal {device} started, process {}, log {}",
            terminal.id().unwrap_or(0),
            self.log().display()
        );
        let story = self.story(&device, &mut committed);
        let outcome = tokio::select! {
            outcome = story => outcome,
            error = self.keep_alive(&mut terminal, &config) => Err(error),
            stopped = server::told_to_stop() => stopped,
        };
        drop(terminal.stdin.take());
        let _ = timeout(Duration::from_secs(5), terminal.wait()).await;
        outcome
    }

    /// Starts the terminal again when it ends, as systemd would. Returns when that is no use.
    async fn keep_alive(&self, terminal: &mut Child, config: &Path) -> anyhow::Error {
        for _ in 0..RESTARTS {
            let input = terminal.stdin.take(); // `wait` would close it
            let ended = terminal.wait().await;
            drop(input);
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            println!("the terminal ended ({how}); starting it again");
            sleep(Duration::from_millis(500)).await;
            match self.start_terminal(config) {
                Ok(child) => *terminal = child,
                Err(error) => return error,
            }
            println!("terminal started, process {}", terminal.id().unwrap_or(0));
        }
        anyhow::anyhow!("the terminal keeps ending; its log is {}", self.log().display())
    }

    async fn story(&self, device: &DeviceId, committed: &mut broadcast::Receiver<Uuid>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let before = self.unknown_faces(device).await?;
        let mut seen = BTreeSet::new();
        while seen.len() < ENROLLED.len() || self.unknown_faces(device).await? == before {
            if Instant::now() > deadline {
                let (seen, expected) = (seen.len(), ENROLLED.len());
                bail!(
                    "only {seen} of {expected} people, or no stranger, were seen; the terminal's log is {}",
                    self.log().display()
                );
            }
            if let Ok(Ok(id)) = timeout(Duration::from_millis(300), committed.recv()).await {
                seen.insert(self.print_punch(id).await?);
            }
        }
        let quiet = Instant::now() + AFTERWARDS;
        while let Ok(Ok(id)) = tokio::time::timeout_at(quiet, committed.recv()).await {
            self.print_punch(id).await?;
        }
        self.conclude(device).await?;
        if self.once {
            return Ok(());
        }
        println!(
            "Everybody walks past again every {AGAIN_S} seconds: watch the console. Ctrl-C ends the demonstration."
        );
        loop {
            match committed.recv().await {
                Ok(id) => drop(self.print_punch(id).await?),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            }
        }
    }

    /// Prints a committed punch and says whose it is.
    async fn print_punch(&self, id: Uuid) -> Result<PersonNumber> {
        let found = db::punches::find(
            &mut *self.app.pool.acquire().await?,
            id,
            self.app.zone.iana_name().unwrap_or("UTC"),
        )
        .await?;
        let row = found.context("a committed punch is gone")?;
        println!("committed {id}  {}  {} {}", row.at, row.number, row.name);
        Ok(row.number)
    }

    async fn unknown_faces(&self, device: &DeviceId) -> Result<i64> {
        Ok(db::unknown_faces::total(&mut *self.app.pool.acquire().await?, device).await?)
    }

    /// Prints the timesheet, and fails if it is not what everybody's passing must give.
    async fn conclude(&self, device: &DeviceId) -> Result<()> {
        let today = self.app.today();
        let computed = async {
            while db::recompute_queue::waiting(&mut *self.app.pool.acquire().await?).await? > 0 {
                sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, computed).await.context("the workdays were not computed")??;
        let rows = timesheet(&self.app.pool, Period::of(today), &ACTOR, clock::now()).await?;
        let mut conn = self.app.pool.acquire().await?;
        let people: Vec<&str> = ENROLLED.iter().map(|person| person.number).collect();
        let enrolled: Vec<PersonNumber> = people.iter().map(|number| (*number).into()).collect();
        let counted = db::punches::of_others(&mut conn, &enrolled).await?;
        let unknown = db::unknown_faces::total(&mut conn, device).await?;
        print!("{}", reports::timesheet::csv(rows.clone()));
        println!("unknown faces: {unknown} seen, {counted} counted");
        let numbers: Vec<&str> = rows.iter().map(|row| row.number.as_str()).collect();
        ensure!(numbers == people, "the timesheet should hold exactly {people:?}");
        ensure!(counted == 0, "a stranger was counted");
        if self.once {
            let once =
                rows.iter().all(|row| row.status == Status::Incomplete && row.flags == ["missing_out"]);
            ensure!(once, "everybody passed once, so each day should be incomplete");
        }
        Ok(())
    }
}

/// The terminal's program, beside this one.
fn edge() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("rollcall-edge");
    ensure!(path.is_file(), "{} is missing: build the whole workspace", path.display());
    Ok(path)
}
