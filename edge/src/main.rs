//! `rollcall-edge`: the door terminal's daemon. This file only reads the command line.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use edge::config::{Config, Misconfigured};
use edge::observe::Observation;
use edge::outbox::support::Question;
use edge::{daemon, doctor, door, identity, observe, outbox};

/// The door terminal of Rollcall: recognises who walks past and delivers their punches to the hub.
#[derive(Parser)]
#[command(name = "rollcall-edge", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How the log is written, to standard error.
    #[arg(long, value_enum, default_value = "text", env = "ROLLCALL_LOG", global = true)]
    log: Log,
}

#[derive(Subcommand)]
enum Command {
    /// Run the terminal: camera, recognition, outbox, delivery, door.
    Run {
        /// The configuration (see deploy/edge.example.toml: every key with its unit).
        #[arg(long, value_name = "FILE", default_value = "/etc/rollcall/edge.toml")]
        config: PathBuf,
        /// Only say whether the configuration, keys, models and library are right.
        #[arg(long)]
        check_config: bool,
        /// End when standard input closes: a terminal that must not outlive what started it.
        #[arg(long)]
        while_stdin: bool,
    },
    /// Make this terminal's key (it never leaves the device) and a request for its certificate.
    /// The hub answers with `rollcall-hub terminal sign`.
    Csr {
        /// Where terminal.key and terminal.csr are kept.
        #[arg(long, value_name = "FOLDER", default_value = "/var/lib/rollcall")]
        state: PathBuf,
    },
    /// Look into the punches that wait for the hub. Changes nothing.
    Outbox {
        /// What to do.
        #[command(subcommand)]
        question: Question,
        /// The terminal's state: the folder that holds `outbox`.
        #[arg(long, value_name = "FOLDER", default_value = "/var/lib/rollcall", global = true)]
        state: PathBuf,
    },
    /// The relay's guard: started by the daemon, not by people.
    #[command(hide = true)]
    Guard,
    /// The door's pins, by hand.
    Door {
        /// What to do.
        #[command(subcommand)]
        action: DoorAction,
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "/etc/rollcall/edge.toml", global = true)]
        config: PathBuf,
    },
    /// See what the camera sees, in words: light, distance, frame rate, faces. Nothing is kept.
    Observe(Observation),
    /// Look at camera, pins, clock, disk, certificate and hub, and say what to do about what is wrong.
    /// Ends with 1 where something is.
    Doctor {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "/etc/rollcall/edge.toml")]
        config: PathBuf,
        /// One line of JSON for each thing that was looked at.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum DoorAction {
    /// Switch every output off. For when the daemon is not running: systemd calls it after each end.
    Off,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Log {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What is asked on the command line is answered there.
    let asked = !matches!(arguments.command, Command::Run { .. });
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| if asked { "warn,sled=off" } else { "info,rumqttc=warn,sled=warn" }.into());
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    match arguments.log {
        Log::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        Log::Json => log.json().flatten_event(true).init(),
    }
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            // systemd does not start again what can only fail again (EX_CONFIG of sysexits.h).
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
        Command::Outbox { question, state } => outbox::support::answer(&state.join("outbox"), &question),
        Command::Guard => door::guard(),
        Command::Door { action: DoorAction::Off, config } => daemon::switch_off(&Config::read(&config)?),
        Command::Observe(what) => observe::observe(&what),
        Command::Doctor { config, json } => {
            return Ok(if doctor::examine(&config, json) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }?;
    Ok(ExitCode::SUCCESS)
}
