//! `terminal`: signing, revoking, listing.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use sqlx::PgPool;

use crate::accounts::CLI;
use crate::db;
use crate::db::commands::CommandKind;
use crate::db::pairing::Claim;
use crate::server::config::Config;
use crate::server::open_authority;
use crate::terminals::signing::sign;
use crate::terminals::{commands, pairing};

/// Terminals.
#[derive(Subcommand)]
pub enum TerminalCommand {
    /// Sign a terminal's request (made by `rollcall-edge csr`) and accept it.
    Sign {
        /// The request.
        request: PathBuf,
        /// Where the terminal hangs, such as "Front door".
        #[arg(long)]
        name: String,
        /// The folder for the answer: terminal.pem and ca.pem, to be copied to the terminal.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        out: PathBuf,
        /// Accept it although a terminal of this id is known: its certificate before stops counting.
        #[arg(long)]
        replace: bool,
    },
    /// Print the fingerprint of the hub's authority: `hub.ca_sha256` of a new terminal.
    Fingerprint,
    /// List the devices that ask to become terminals.
    Claims,
    /// Accept a device that asks, with the code that it shows.
    Accept {
        /// Its id, as it shows it.
        device: String,
        /// The code that it shows.
        #[arg(long)]
        code: String,
        /// Where it hangs, such as "Front door".
        #[arg(long)]
        name: String,
    },
    /// Reject a device that asks.
    Reject {
        /// Its id.
        device: String,
    },
    /// Revoke a terminal: its connection ends within a second, and it is not heard any more.
    Revoke {
        /// Its id.
        device: String,
    },
    /// Have a terminal do something, once, within five minutes; open its door, within 40 seconds.
    Command {
        /// Its id.
        device: String,
        /// What: identify (blink), resync (forget the gallery and ask for it anew), open (the door) or
        /// restart (the daemon).
        kind: CommandKind,
    },
    /// List all terminals, with what waited in each when it last reported, and what is wrong.
    List,
}

/// Runs the command.
pub async fn terminal(config: &Config, pool: &PgPool, command: TerminalCommand) -> Result<()> {
    match command {
        TerminalCommand::Sign { request, name, out, replace } => {
            let authority = open_authority(config, pool).await?;
            let text = std::fs::read_to_string(&request)
                .with_context(|| format!("cannot read {}", request.display()))?;
            let device = sign(pool, &authority, &text, &name, &out, replace).await?;
            println!("terminal {device} accepted as {name:?}");
            println!("copy {0}/terminal.pem and {0}/ca.pem to the terminal", out.display());
        }
        TerminalCommand::Revoke { device } => {
            commands::revoke(pool, &CLI, &device.parse()?).await?;
            println!("terminal {device} revoked");
        }
        TerminalCommand::Command { device, kind } => {
            commands::command(pool, &CLI, &device.parse()?, kind).await?;
            println!("terminal {device} will {kind} if it is connected now or soon");
        }
        TerminalCommand::Fingerprint => println!("{}", open_authority(config, pool).await?.fingerprint()),
        TerminalCommand::Claims => {
            println!("device\tstate\tfrom\tsince\tlast seen");
            for claim in pairing::list(pool, &config.zone).await? {
                let Claim { device, state, address, created_at, seen_at, .. } = claim;
                println!("{device}	{state}	{address}	{created_at}	{seen_at}");
            }
        }
        TerminalCommand::Accept { device, code, name } => {
            let authority = open_authority(config, pool).await?;
            pairing::accept(pool, &authority, &CLI, &device.parse()?, &code, &name).await?;
            println!("terminal {device} accepted as {name:?}; it fetches its certificate by itself");
        }
        TerminalCommand::Reject { device } => {
            pairing::reject(pool, &CLI, &device.parse()?).await?;
            println!("device {device} rejected");
        }
        TerminalCommand::List => {
            println!("device\tname\tstate\tseen\tqueued\talarm");
            for row in db::terminals::list(&mut *pool.acquire().await?, &config.zone).await? {
                let seen = row.seen_at.map_or_else(|| "never".into(), |at| at.to_string());
                let queued = row.queued.map_or_else(|| "?".into(), |queued| queued.to_string());
                println!("{}\t{}\t{}\t{seen}\t{queued}\t{}", row.device, row.name, row.state, row.alarm);
            }
        }
    }
    Ok(())
}
