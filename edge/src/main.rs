//! `rollcall-edge`: the door terminal's daemon. This file only reads the command line.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use edge::config::Config;
use edge::outbox::support::Question;
use edge::{daemon, identity, observe, outbox};

/// The door terminal of Rollcall: recognises who walks past and delivers their punches to the hub.
#[derive(Parser)]
#[command(name = "rollcall-edge", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
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
    /// Try a camera or pictures: one line of JSON for each face in each frame. Nothing is kept.
    Observe {
        /// A device such as /dev/video0, a folder of frames, or one photo.
        source: PathBuf,
        /// Recognise people as the terminal of this configuration would.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Stop after this many frames.
        #[arg(long)]
        frames: Option<u64>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What is asked on the command line is answered there.
    let asked = matches!(arguments.command, Command::Outbox { .. });
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
                if asked { "warn,sled=off" } else { "info,rumqttc=warn,sled=warn" }.into()
            }),
        )
        .init();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Run { config, check_config, while_stdin } => {
            let config = Config::read(&config)?;
            if check_config { daemon::check(&config) } else { daemon::run(&config, while_stdin) }
        }
        Command::Csr { state } => identity::request(&state),
        Command::Outbox { question, state } => outbox::support::answer(&state.join("outbox"), &question),
        Command::Observe { source, config, frames } => {
            observe::observe(&source, config.map(|file| Config::read(&file)).transpose()?.as_ref(), frames)
        }
    }
}
