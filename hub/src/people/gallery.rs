//! What a terminal lacks of the roster, from PostgreSQL, in messages of a bounded size.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use models::{Embedding, Template};
use proto::{GalleryEntry, GalleryUpdate};
use sqlx::{PgConnection, PgPool};
use tracing::{info, warn};

use crate::crypto::vault::{Label, Vault};
use crate::db;
use crate::person::PersonId;

/// Numbers of an embedding, from its stored length.
const BYTES_A_NUMBER: usize = 4;

/// Between two looks at whose employment has ended.
const LOOK: Duration = Duration::from_secs(30);

/// Has terminals forget people as their employment ends, and know them again where it goes on after all.
pub async fn follow_employments(pool: PgPool) -> Result<()> {
    loop {
        if let Err(error) = follow_once(&pool).await {
            warn!(error = format!("{error:#}"), "whose employment has ended is not known");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn follow_once(pool: &PgPool) -> Result<()> {
    let mut transaction = pool.begin().await?;
    for person in db::gallery::outdated(&mut transaction).await? {
        db::gallery::touch(&mut transaction, person).await?;
        info!(%person, "terminals are told of the end of an employment, or that it goes on");
    }
    Ok(transaction.commit().await?)
}

/// The next message for a terminal that holds version `after` and runs `embedder`. `None`: it
/// holds everything. A terminal that holds more than there is (the database was restored from a
/// backup) starts anew: a message after version 0 replaces all that it holds.
pub async fn next(
    conn: &mut PgConnection,
    vault: &Vault,
    embedder: &str,
    after: u64,
) -> Result<Option<GalleryUpdate>> {
    let latest = db::gallery::version(conn).await? as u64;
    let after = if after > latest { 0 } else { after };
    let limit = proto::GALLERY_ENTRIES as i64;
    let changes = db::gallery::changes(conn, i64::try_from(after).unwrap_or(i64::MAX), limit).await?;
    let Some(last) = changes.last() else { return Ok(None) };
    let through = last.version as u64;
    let employed: Vec<PersonId> =
        changes.iter().filter(|change| !change.ended).map(|change| change.person).collect();
    let mut faces: HashMap<PersonId, Vec<Embedding>> = HashMap::new();
    for row in db::templates::of(conn, &employed, embedder).await? {
        let bytes = vault.unseal(Label { person: row.person, template: row.id, embedder }, &row.bytes)?;
        faces
            .entry(row.person)
            .or_default()
            .push(Embedding::from_bytes(&bytes, bytes.len() / BYTES_A_NUMBER)?);
    }
    let entries = changes.iter().map(|db::gallery::Change { person, .. }| {
        let template = faces.get(person).and_then(Template::mean);
        if template.is_none() && faces.contains_key(person) {
            warn!(%person, "photos that have no mean; the person can't be recognised");
        }
        GalleryEntry {
            person: person.0.as_bytes().to_vec(),
            template: template.map_or_else(Vec::new, |template| template.embedding().to_bytes().to_vec()),
        }
    });
    let entries = entries.collect();
    Ok(Some(GalleryUpdate {
        version: proto::VERSION,
        after,
        through,
        embedder: embedder.to_owned(),
        entries,
    }))
}
