//! What a terminal lacks of the roster, from PostgreSQL, in messages of a bounded size.

use std::collections::HashMap;

use anyhow::Result;
use models::{Embedding, Template};
use proto::{Roster, RosterEntry};
use sqlx::PgConnection;
use tracing::warn;
use uuid::Uuid;

use crate::store;
use crate::vault::{Label, Vault};

/// Numbers of an embedding, from its stored length.
const BYTES_A_NUMBER: usize = 4;

/// The next message for a terminal that holds version `after` and runs `embedder`. `None`: it
/// holds everything. A terminal that holds more than there is (the database was restored from a
/// backup) starts anew: a message after version 0 replaces all that it holds.
pub async fn next(
    conn: &mut PgConnection,
    vault: &Vault,
    embedder: &str,
    after: u64,
) -> Result<Option<Roster>> {
    let latest = store::roster::version(conn).await? as u64;
    let after = if after > latest { 0 } else { after };
    let limit = proto::ROSTER_ENTRIES as i64;
    let changes = store::roster::changes(conn, i64::try_from(after).unwrap_or(i64::MAX), limit).await?;
    let Some(last) = changes.last() else { return Ok(None) };
    let through = last.version as u64;
    let people: Vec<Uuid> = changes.iter().map(|change| change.person).collect();
    let mut faces: HashMap<Uuid, Vec<Embedding>> = HashMap::new();
    for row in store::templates::of(conn, &people, embedder).await? {
        let bytes = vault.unseal(Label { person: row.person, template: row.id, embedder }, &row.bytes)?;
        faces
            .entry(row.person)
            .or_default()
            .push(Embedding::from_bytes(&bytes, bytes.len() / BYTES_A_NUMBER)?);
    }
    let entries = people.into_iter().map(|person| {
        let template = faces.get(&person).and_then(Template::mean);
        if template.is_none() && faces.contains_key(&person) {
            warn!(%person, "photos that have no mean; the person can't be recognised");
        }
        RosterEntry {
            person: person.as_bytes().to_vec(),
            template: template.map_or_else(Vec::new, |template| template.embedding().to_bytes().to_vec()),
        }
    });
    let entries = entries.collect();
    Ok(Some(Roster { version: proto::VERSION, after, through, embedder: embedder.to_owned(), entries }))
}
