//! The command line of `rollcall-edge`, the door terminal's daemon.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use edge::config::{Config, Misconfigured};
use edge::observe::Observation;
use edge::outbox::support::Action;
use edge::{daemon, doctor, door, identity, observe, outbox};

/// The door terminal of Rollcall: recognises people at a door and sends their punches to the hub.
#[derive(Parser)]
#[command(name = "rollcall-edge", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Format of the log on standard error.
    #[arg(long, value_enum, default_value = "text", env = "ROLLCALL_LOG", global = true)]
    log: Log,
}

#[derive(Subcommand)]
enum Command {
    /// Run the terminal: camera, recognition, outbox, delivery, door.
    Run {
        /// Configuration file; /usr/share/rollcall-edge/edge.example.toml documents every key.
        #[arg(long, value_name = "FILE", default_value = "/etc/rollcall/edge.toml")]
        config: PathBuf,
        /// Only check configuration, keys, models and library, and exit.
        #[arg(long)]
        check_config: bool,
        /// Stop when standard input closes, to end together with a parent process.
        #[arg(long)]
        while_stdin: bool,
    },
    /// Create this terminal's key, which never leaves the device, and a certificate signing request. Sign it on the hub
    /// with `rollcall-hub terminal sign`.
    Csr {
        /// Folder of terminal.key and terminal.csr.
        #[arg(long, value_name = "FOLDER", default_value = "/var/lib/rollcall")]
        state: PathBuf,
    },
    /// Inspect the punches that wait for the hub. Changes nothing.
    Outbox {
        #[command(subcommand)]
        action: Action,
        /// The terminal's state folder, which contains `outbox`.
        #[arg(long, value_name = "FOLDER", default_value = "/var/lib/rollcall", global = true)]
        state: PathBuf,
    },
    /// The relay's guard, started by the daemon.
    #[command(hide = true)]
    Guard,
    /// Control the door's pins.
    Door {
        #[command(subcommand)]
        action: DoorAction,
        /// Configuration file.
        #[arg(long, value_name = "FILE", default_value = "/etc/rollcall/edge.toml", global = true)]
        config: PathBuf,
    },
    /// Describe what the camera sees: light, distance, frame rate, faces. Nothing is stored.
    Observe(Observation),
    /// Check camera, pins, clock, disk, certificate and hub, and say what to do about each problem. Exits with 1 if there
    /// is one.
    Doctor {
        /// Configuration file.
        #[arg(long, value_name = "FILE", default_value = "/etc/rollcall/edge.toml")]
        config: PathBuf,
        /// Print one line of JSON for each check.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum DoorAction {
    /// Switch every output off. Only while the daemon is not running; systemd calls it after the daemon has ended.
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Log {
    /// Text lines.
    Text,
    /// One JSON object a line.
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let interactive = !matches!(arguments.command, Command::Run { .. });
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| if interactive { "warn,sled=off" } else { "info,rumqttc=warn,sled=warn" }.into());
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    match arguments.log {
        Log::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        Log::Json => log.json().flatten_event(true).init(),
    }
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            // EX_CONFIG of sysexits.h: systemd does not restart it.
            if error.is::<Misconfigured>() { ExitCode::from(78) } else { ExitCode::FAILURE }
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { config, check_config, while_stdin } => {
            let config = Config::read(&config)?;
            if check_config { daemon::check(&config) } else { daemon::run(&config, while_stdin) }
        }
        Command::Csr { state } => identity::key::request(&state),
        Command::Outbox { action, state } => outbox::support::run(&state.join("outbox"), &action),
        Command::Guard => door::guard(),
        Command::Door { action: DoorAction::Off, config } => daemon::switch_off(&Config::read(&config)?),
        Command::Observe(what) => observe::observe(&what),
        Command::Doctor { config, json } => {
            return Ok(if doctor::examine(&config, json) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }?;
    Ok(ExitCode::SUCCESS)
}
