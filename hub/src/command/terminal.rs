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
use crate::{clock, store};

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
    /// Refuse a terminal from its next connection on.
    Revoke {
        /// Its id.
        device: String,
    },
    /// List all terminals.
    List,
}

/// Does it.
pub async fn terminal(config: &Config, pool: &PgPool, command: TerminalCommand) -> Result<()> {
    match command {
        TerminalCommand::Sign { request, name, out, replace } => {
            let authority = Authority::open(&config.state.join("pki"), clock::now())?;
            let text = std::fs::read_to_string(&request)
                .with_context(|| format!("cannot read {}", request.display()))?;
            let device = sign(pool, &authority, &text, &name, &out, replace).await?;
            println!("terminal {device} accepted as {name:?}");
            println!("copy {0}/terminal.pem and {0}/ca.pem to the terminal", out.display());
        }
        TerminalCommand::Revoke { device } => {
            let device = device.parse()?;
            let mut transaction = pool.begin().await?;
            ensure!(
                store::terminals::revoke(&mut transaction, &device).await?,
                "there is no terminal {device}"
            );
            store::audit::record(&mut transaction, ACTOR, "terminal.revoke", device.as_str(), json!({}))
                .await?;
            transaction.commit().await?;
            println!("terminal {device} revoked");
        }
        TerminalCommand::List => {
            let zone = config.time_zone()?;
            println!("device\tname\tstate\tseen\tqueued");
            for row in store::terminals::list(&mut *pool.acquire().await?).await? {
                let seen = row.seen_at.map_or_else(|| "never".into(), |at| local(at.to_jiff(), &zone));
                let queued = row.queued.map_or_else(|| "?".into(), |queued| queued.to_string());
                println!("{}\t{}\t{}\t{seen}\t{queued}", row.device, row.name, row.state);
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
    let signed = authority.sign_terminal(request, clock::now())?;
    let device = signed.device.clone();
    let mut transaction = pool.begin().await?;
    let accepted =
        store::terminals::accept(&mut transaction, &device, name, &signed.sha256, signed.expires_at, replace)
            .await?;
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
