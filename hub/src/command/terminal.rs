//! `terminal`: signing, revoking, listing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use serde_json::json;
use sqlx::PgPool;

use crate::command::ACTOR;
use crate::config::Config;
use crate::pki::Authority;
use crate::reports::timesheet::local;
use crate::serve::open_authority;
use crate::{claims, clock, store, terminals};

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
        /// What: identify (blink), resync (forget the roster and ask for it anew), open (the door) or
        /// restart (the daemon).
        #[arg(value_parser = terminals::COMMANDS)]
        kind: String,
    },
    /// List all terminals, with what waited in each when it last reported, and what is wrong.
    List,
}

/// Does it.
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
            terminals::revoke(pool, ACTOR, &device.parse()?).await?;
            println!("terminal {device} revoked");
        }
        TerminalCommand::Command { device, kind } => {
            terminals::command(pool, ACTOR, &device.parse()?, &kind).await?;
            println!("terminal {device} will {kind} if it is connected now or soon");
        }
        TerminalCommand::Fingerprint => println!("{}", open_authority(config, pool).await?.fingerprint()),
        TerminalCommand::Claims => {
            let zone = config.time_zone()?;
            println!("device\tstate\tfrom\tsince\tlast seen");
            for claim in claims::list(pool).await? {
                let (since, seen) = (claim.created_at.to_jiff(), claim.seen_at.to_jiff());
                let (since, seen) = (local(since, &zone), local(seen, &zone));
                println!("{}\t{}\t{}\t{since}\t{seen}", claim.device, claim.state, claim.address);
            }
        }
        TerminalCommand::Accept { device, code, name } => {
            let authority = open_authority(config, pool).await?;
            claims::accept(pool, &authority, ACTOR, &device.parse()?, &code, &name).await?;
            println!("terminal {device} accepted as {name:?}; it fetches its certificate by itself");
        }
        TerminalCommand::Reject { device } => {
            claims::reject(pool, ACTOR, &device.parse()?).await?;
            println!("device {device} rejected");
        }
        TerminalCommand::List => {
            let zone = config.time_zone()?;
            println!("device\tname\tstate\tseen\tqueued\talarm");
            for row in store::terminals::list(&mut *pool.acquire().await?).await? {
                let seen = row.seen_at.map_or_else(|| "never".into(), |at| local(at.to_jiff(), &zone));
                let queued = row.queued.map_or_else(|| "?".into(), |queued| queued.to_string());
                println!("{}\t{}\t{}\t{seen}\t{queued}\t{}", row.device, row.name, row.state, row.alarm);
            }
        }
    }
    Ok(())
}

/// Signs a request, accepts the terminal and writes the answer.
pub async fn sign(
    pool: &PgPool,
    authority: &Authority,
    request: &str,
    name: &str,
    out: &Path,
    replace: bool,
) -> Result<proto::DeviceId> {
    claims::named(name)?;
    let signed = authority.sign_terminal(request, clock::now())?;
    let device = signed.device.clone();
    let mut transaction = pool.begin().await?;
    let accepted =
        store::terminals::accept(&mut transaction, &device, name, &signed.certificate(), replace).await?;
    ensure!(accepted, "terminal {device} is known already; --replace gives it a new certificate");
    let detail = json!({"name": name});
    store::audit::record(&mut transaction, ACTOR, "terminal.accept", device.as_str(), detail).await?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    for (file, text) in [("terminal.pem", signed.pem.as_str()), ("ca.pem", authority.pem())] {
        let path = out.join(file);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    transaction.commit().await?;
    Ok(device)
}
