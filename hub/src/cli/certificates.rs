//! `authority`: the hub's certificate authority, and certificates for an external broker.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use sqlx::PgPool;

use crate::clock;
use crate::crypto::secret_file;
use crate::server::config::Config;
use crate::server::open_authority;

/// The hub's certificate authority.
#[derive(Subcommand)]
pub enum AuthorityCommand {
    /// Print ca.pem, which terminals trust: the hub's certificate and signing key.
    Show,
    /// Make a certificate and key for an external MQTT broker: broker.pem, broker.key, ca.pem.
    Broker {
        /// The names and addresses by which it is reached.
        #[arg(required = true)]
        names: Vec<String>,
        /// Where they are written; the files must not be there yet.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        out: PathBuf,
    },
    /// Make a certificate and key for a hub as client of an external MQTT broker: hub.pem, hub.key.
    /// Each hub needs its own name.
    Client {
        /// The hub's name on the broker, such as hub-1.
        name: String,
        /// Where they are written; the files must not be there yet.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        out: PathBuf,
    },
}

/// Runs the command.
pub async fn authority(config: &Config, pool: &PgPool, command: &AuthorityCommand) -> Result<()> {
    let authority = open_authority(config, pool).await?;
    match command {
        AuthorityCommand::Show => print!("{}", authority.pem()),
        AuthorityCommand::Broker { names, out } => {
            write(out, "broker", authority.sign_beside(names, true, clock::now())?)?;
            let file = out.join("ca.pem");
            std::fs::write(&file, authority.pem())
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        AuthorityCommand::Client { name, out } => {
            write(out, "hub", authority.sign_beside(std::slice::from_ref(name), false, clock::now())?)?;
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &str, (certificate, key): (String, String)) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (ending, text) in [("key", key), ("pem", certificate)] {
        let file = folder.join(format!("{name}.{ending}"));
        secret_file::write_new(&file, text.as_bytes())?;
        println!("{}", file.display());
    }
    Ok(())
}
