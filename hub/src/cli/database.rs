//! `database`: the hub's own PostgreSQL.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, ensure};
use clap::Subcommand;

use crate::server::config::Config;
use crate::server::postgres::Upgrade;

/// The hub's own PostgreSQL.
#[derive(Subcommand)]
pub enum DatabaseCommand {
    /// Move it to the newest PostgreSQL that is installed, with the hub stopped. Says first what it will do,
    /// and keeps the old one beside it: data.15 for data.
    Upgrade {
        /// Don't ask.
        #[arg(long)]
        yes: bool,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs the command.
pub async fn database(config: &Config, command: DatabaseCommand) -> Result<()> {
    let DatabaseCommand::Upgrade { yes, dry_run } = command;
    ensure!(
        config.database_url_file.is_none(),
        "the database is not the hub's own (database_url_file): upgrade it where it runs"
    );
    let folder = config.state.join("pg");
    if !dry_run {
        Upgrade::resume(&folder)?;
    }
    let Some(plan) = Upgrade::plan(&folder)? else {
        println!("nothing to do: the database has the newest PostgreSQL that is installed");
        return Ok(());
    };
    println!("{plan}");
    if dry_run {
        return Ok(());
    }
    ensure!(yes || confirmed()?, "not upgraded: nothing was changed");
    let kept = plan.perform().await?;
    println!("upgraded. Start the hub; when all is well, delete {}", kept.display());
    Ok(())
}

fn confirmed() -> Result<bool> {
    ensure!(std::io::stdin().is_terminal(), "nobody is there to be asked: say --yes");
    print!("Upgrade it? [y/N] ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
