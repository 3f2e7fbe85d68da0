//! What can be said on the command line, and what it does.

mod certificates;
mod database;
mod demo;
mod import;
mod person;
mod recompute;
mod terminal;

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use attendance::{InvalidScenario, Scenario};
use clap::{Parser, Subcommand, ValueEnum};
use sqlx::PgPool;
use zeroize::Zeroizing;

use crate::accounts::{self, Role};
use crate::date::Date;
use crate::i18n::Language;
use crate::person::PersonNumber;
use crate::reports::timesheet::{Period, timesheet};
use crate::server::config::Config;
use crate::server::{self, Database, routes};
use crate::workdays::reasons::sentence;
use crate::{clock, notifications, reports};

/// The configuration that is read where none is named.
const CONFIG: &str = "/etc/rollcall/hub.toml";

/// The server of Rollcall: terminals deliver punches to it, people read timesheets from it.
#[derive(Parser)]
#[command(name = "rollcall-hub", version, propagate_version = true)]
pub struct Arguments {
    /// The configuration [default: /etc/rollcall/hub.toml, and built-in defaults where there is
    /// none]. See deploy/hub.example.toml: every key with its unit.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the log is written, to standard error.
    #[arg(long, value_enum, default_value = "text", env = "ROLLCALL_LOG", global = true)]
    pub log: Log,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Log {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the hub: broker, ingest, console and API.
    Run {
        /// Only say whether the configuration is right.
        #[arg(long)]
        check_config: bool,
    },
    /// Run a demonstration on this machine: a hub, a terminal, two people and a stranger walking past.
    Demo(demo::Demo),
    /// Accounts of the console.
    #[command(subcommand)]
    Account(AccountCommand),
    /// People: adding, consent, enrolment.
    #[command(subcommand)]
    Person(person::PersonCommand),
    /// Terminals: accepting, signing, commands, revoking.
    #[command(subcommand)]
    Terminal(terminal::TerminalCommand),
    /// The certificate authority, and certificates for an external broker.
    #[command(subcommand)]
    Authority(certificates::AuthorityCommand),
    /// The hub's own PostgreSQL: upgrading it.
    #[command(subcommand)]
    Database(database::DatabaseCommand),
    #[allow(missing_docs, reason = "its help is that of `Import`")]
    Import(import::Import),
    /// Print the timesheet as CSV.
    Timesheet {
        /// First day, YYYY-MM-DD [default: today].
        #[arg(long, value_name = "DATE")]
        from: Option<Date>,
        /// Last day [default: the first].
        #[arg(long, value_name = "DATE")]
        to: Option<Date>,
    },
    /// Compute workdays again from the punches, schedules and corrections. Only what changed is
    /// written, as a new revision with its audit; locked periods get adjustments instead.
    Recompute {
        /// First day, YYYY-MM-DD [default: the first on which anything happened].
        #[arg(long, value_name = "DATE")]
        from: Option<Date>,
        /// Last day [default: today].
        #[arg(long, value_name = "DATE")]
        to: Option<Date>,
        /// Only say how many workdays would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Apply the rules of attendance to a scenario in a file, without any database: try a policy before
    /// it counts. Exits with 2 if the scenario makes no sense.
    #[command(long_about = SCENARIO)]
    Assess {
        /// The scenario as JSON; - reads standard input.
        scenario: PathBuf,
    },
    /// Turn a report on standard input into a PDF: what the hub starts for each.
    #[cfg(feature = "pdf")]
    #[command(hide = true)]
    Print,
    /// Print the API's OpenAPI document.
    Openapi,
}

/// The help of `assess`.
const SCENARIO: &str = r#"Apply the rules of attendance to a scenario in a file, without any database: try a policy before it counts.

Prints the workdays dated from..to, each with its reasons, and the punches that were dropped or belong to no day. Exits with 2, one line on standard error and nothing on standard output if the scenario makes no sense.

A scenario, with every key and its default (zone, from, to, shifts, schedule and punches must be there; of a shift start and end, of an entry date and shift, of a punch at):

{"zone": "Europe/Berlin", "from": "2025-03-03", "to": "2025-03-03",
 "shifts": {"D": {"start": "09:00", "end": "18:00", "pairing": "first_last",
    "grace_late_min": 10, "grace_early_min": 10, "absent_below_min": 120, "half_day_below_min": 300,
    "overtime_tolerance_min": 15, "unpaid_break_min": 0, "break_rules": [],
    "window_before_min": 120, "window_after_min": 480, "count_early_arrival": false,
    "core_start": null, "core_end": null, "expected_min": null}},
 "schedule": [{"date": "2025-03-03", "shift": "D", "zone": "Europe/Berlin"}],
 "holidays": [], "leave": [{"date": "2025-03-04", "half": false}],
 "employed": {"from": "2020-01-01", "to": "2030-12-31"}, "duplicate_within_s": 60,
 "punches": [{"at": "2025-03-03T09:00:00+01:00", "terminal": "A", "direction": "unknown", "clock": "synchronised"}]}"#;

/// Accounts of the console.
#[derive(Subcommand)]
pub enum AccountCommand {
    /// Make an account. The password is asked for, or read as one line from standard input.
    Create {
        /// Made of a-z, 0-9, dot, dash, underscore.
        name: String,
        /// What the account may do.
        #[arg(long, value_enum, default_value = "hr")]
        role: Role,
        /// The number of the person whose account it is; managers and employees need one. Nobody
        /// decides about corrections of their own days, with whatever account.
        #[arg(long, value_name = "NUMBER")]
        person: Option<PersonNumber>,
        /// Give an existing account a new password, role and person, and end its sessions.
        #[arg(long)]
        replace: bool,
    },
}

/// Runs the command.
pub fn execute(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(perform(arguments));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    result
}

async fn perform(arguments: Arguments) -> Result<()> {
    let config = || read_config(arguments.config.as_deref());
    match arguments.command {
        Command::Run { check_config: true } => check(&config()?),
        Command::Run { check_config: false } => server::run(&config()?).await,
        Command::Demo(demo) => Box::pin(demo.run()).await,
        Command::Assess { scenario } => assess(&scenario),
        #[cfg(feature = "pdf")]
        Command::Print => print_pdf(),
        Command::Database(command) => database::database(&config()?, command).await,
        Command::Openapi => {
            print!("{}", routes::document()?);
            Ok(())
        }
        other => {
            let config = config()?;
            let database = Database::open(&config).await?;
            let result = Box::pin(with_database(&config, &database.pool, other)).await;
            let ours = database.cluster.as_ref().is_some_and(crate::server::postgres::Cluster::started);
            database.close(ours).await;
            result
        }
    }
}

fn read_config(named: Option<&Path>) -> Result<Config> {
    match named {
        Some(file) => Config::read(file),
        None if Path::new(CONFIG).exists() => Config::read(Path::new(CONFIG)),
        None => Ok(toml::from_str("")?),
    }
}

#[cfg(feature = "pdf")]
fn print_pdf() -> Result<()> {
    let document: reports::pdf::Document = serde_json::from_reader(std::io::stdin().lock())?;
    Ok(std::io::Write::write_all(&mut std::io::stdout().lock(), &document.set()?)?)
}

fn assess(file: &Path) -> Result<()> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin().lock()).map_err(|error| error.to_string())
    } else {
        std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
    };
    let scenario = Scenario::read(&text.map_err(InvalidScenario)?)?;
    let answer = scenario.assess(|reason, zone| sentence(reason, zone, Language::English));
    println!("{}", serde_json::to_string_pretty(&answer)?);
    Ok(())
}

fn check(config: &Config) -> Result<()> {
    config.database_url()?;
    config.external()?.map(crate::mqtt::Settings::tls).transpose()?;
    notifications::Sender::open(config.mail.as_ref(), &config.webhooks)?;
    models::Folder::find(config.models.as_deref())?.manifest(models::Role::Embedder)?;
    println!("the configuration is right (state in {})", config.state.display());
    Ok(())
}

async fn with_database(config: &Config, pool: &PgPool, command: Command) -> Result<()> {
    match command {
        Command::Account(AccountCommand::Create { name, role, person, replace }) => {
            accounts::create(pool, &name, role, person.as_ref(), read_password()?, replace).await?;
            println!("account {name} made");
            Ok(())
        }
        Command::Person(command) => person::person(config, pool, command).await,
        Command::Terminal(command) => terminal::terminal(config, pool, command).await,
        Command::Authority(command) => certificates::authority(config, pool, &command).await,
        Command::Import(import) => import.run(pool).await,
        Command::Timesheet { from, to } => {
            let zone = config.time_zone()?;
            let period = Period::asked(from, to, clock::now().date_in(&zone))?;
            let rows = timesheet(pool, period, &accounts::CLI, clock::now()).await?;
            print!("{}", reports::timesheet::csv(rows));
            Ok(())
        }
        Command::Recompute { from, to, dry_run } => {
            recompute::recompute(config, pool, from, to, dry_run).await
        }
        _ => {
            bail!("not a command for the database")
        }
    }
}

/// Asks for a password without showing it; from a pipe, reads one line.
fn read_password() -> Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut line)?;
        return Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let password = Zeroizing::new(rpassword::prompt_password("Password: ")?);
    let again = Zeroizing::new(rpassword::prompt_password("Once more: ")?);
    ensure!(password == again, "the two passwords differ");
    Ok(password)
}
