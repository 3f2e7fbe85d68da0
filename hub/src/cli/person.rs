//! `person`: people, their consent and their enrolment.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use sqlx::PgPool;

use crate::accounts::CLI;
use crate::db::people::PersonFilter;
use crate::people::{self, enrolment};
use crate::person::PersonNumber;
use crate::server;
use crate::server::config::Config;

/// People.
#[derive(Subcommand)]
pub enum PersonCommand {
    /// Add a person.
    Add {
        /// The number by which the company knows them.
        number: PersonNumber,
        /// As written in reports.
        name: String,
    },
    /// Record that a person consented to the use of their face. Keep the signed form yourself.
    Consent {
        /// Whose.
        number: PersonNumber,
    },
    /// Enrol a person from one to ten photos of their face alone (three are better than one).
    /// The photos are not kept. A poor photo is refused with the reason, and so is one of somebody else;
    /// somebody who looks much like them is named.
    Enrol {
        /// Whose face.
        number: PersonNumber,
        /// JPEG or PNG.
        #[arg(required = true)]
        photos: Vec<PathBuf>,
    },
    /// End consent: deletes the templates, here and on all terminals.
    Withdraw {
        /// Whose.
        number: PersonNumber,
    },
    /// List everybody.
    List,
}

/// Runs the command.
pub async fn person(config: &Config, pool: &PgPool, command: PersonCommand) -> Result<()> {
    match command {
        PersonCommand::Add { number, name } => {
            let id = people::add(pool, &CLI, &number, &name).await?;
            println!("{number} {name} added ({id})");
        }
        PersonCommand::Consent { number } => {
            people::consent(pool, &CLI, &number).await?;
            println!("consent of {number} recorded");
        }
        PersonCommand::Enrol { number, photos } => {
            let vault = server::open_vault(config, pool).await?;
            let photos = enrolment::read_photos(&photos)?;
            let models = config.models.as_deref();
            let enrolled = enrolment::enrol(pool, &vault, models, &CLI, &number, photos).await?;
            println!("{number} enrolled from {} photos; the photos were not kept", enrolled.photos);
            if let Some(warning) = enrolled.warning {
                eprintln!("warning: {warning}");
            }
        }
        PersonCommand::Withdraw { number } => {
            let count = people::withdraw(pool, &CLI, &number).await?;
            println!("consent of {number} ended; {count} templates deleted, terminals follow");
        }
        PersonCommand::List => {
            println!("number\tname\tconsent\tphotos");
            for person in people::search(pool, &CLI, PersonFilter::default(), i64::MAX).await? {
                let consent = if person.consent { "yes" } else { "no" };
                println!("{}\t{}\t{consent}\t{}", person.number, person.name, person.photos);
            }
        }
    }
    Ok(())
}
