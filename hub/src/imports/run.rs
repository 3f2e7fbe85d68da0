//! What the parts of an import must know, and do alike.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::accounts::Actor;
use crate::db;
use crate::imports::dates::Extent;
use crate::imports::problem::ImportError;
use crate::person::{PersonId, PersonNumber};

/// What the parts of an import must know.
pub struct Run<'a> {
    /// Who imports.
    pub by: &'a Actor,
    /// Nothing is written.
    pub dry: bool,
    /// The dates that can have workdays.
    pub extent: Extent,
}

impl Run<'_> {
    /// Holds people until the import ends, so that what is read of them from now on stays true. A dry
    /// run holds nobody up.
    pub async fn hold(&self, conn: &mut PgConnection, people: &[PersonId]) -> sqlx::Result<()> {
        if self.dry { Ok(()) } else { db::recompute_queue::hold(conn, people).await }
    }
}

/// Does work that would hold up others.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ImportError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from)?)
}

/// Who has which of the numbers. They are held from here on.
pub async fn people_with(
    conn: &mut PgConnection,
    run: &Run<'_>,
    mut numbers: Vec<PersonNumber>,
) -> Result<HashMap<PersonNumber, PersonId>, ImportError> {
    numbers.sort_unstable();
    numbers.dedup();
    let people = db::people::ids(conn, &numbers).await?;
    let ids: Vec<PersonId> = people.values().copied().collect();
    run.hold(conn, &ids).await?;
    Ok(people)
}
