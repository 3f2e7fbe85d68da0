//! `rollcall-hub`: the server. This file only reads the command line.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use hub::cli::{self, Arguments, Command, Log};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The demonstration talks on standard output; its log is for when something is wrong.
    let quiet = if matches!(arguments.command, Command::Run { .. }) { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| format!("{quiet},sqlx=warn,rumqttd=warn").into());
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    match arguments.log {
        Log::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        Log::Json => log.json().flatten_event(true).init(),
    }
    // Only fails where a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli::execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<attendance::InvalidScenario>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
