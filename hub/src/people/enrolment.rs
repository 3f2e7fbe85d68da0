//! Enrolment: a person's face from photos, and who looks like them.
//!
//! No consent, no template. A photo is looked at once, in memory, and never written anywhere.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::Context;
use futures_util::TryStreamExt;
use models::photo::{PhotoError, embed_photo};
use models::quality::NARROWEST;
use models::{Embedding, Eyes, Flaw, Frame, Gallery, Identifier, Template};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::accounts::Actor;
use crate::crypto::vault::{Label, Vault};
use crate::db;
use crate::db::people::Person;
use crate::db::templates::Sealed;
use crate::error::{Error, Problem};
use crate::people::locked;
use crate::person::{PersonId, PersonNumber};

/// Photos of one enrolment, at most.
pub const PHOTOS: usize = 10;
/// Bytes of a photo, at most.
pub const PHOTO_BYTES: usize = 12 << 20;
/// Photos kept of one person, at most: those of other embedders don't count.
pub const KEPT: usize = 20;
/// The models take memory and both cores: one enrolment at a time.
static EYES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));

/// A photo that somebody chose.
pub struct Photo {
    /// What they call it.
    pub name: String,
    /// JPEG or PNG.
    pub bytes: Vec<u8>,
}

/// What an enrolment did.
#[derive(Serialize, ToSchema)]
pub struct Enrolled {
    /// Photos that templates were made of.
    pub photos: usize,
    /// The number of somebody who looks so much like them that a terminal may take one for the other.
    #[schema(value_type = Option<String>)]
    pub lookalike: Option<PersonNumber>,
    /// What to do about that.
    pub warning: Option<String>,
}

/// What to do about two people who look alike.
fn confusable(number: &PersonNumber, other: &PersonNumber) -> String {
    format!(
        "{number} looks so much like {other} that a terminal may take one for the other: make sure that they are not one person with two numbers, enrol more photos of both, and if that does not help let one of them be punched by hand"
    )
}

/// The faces of photos, and the models' word on them.
struct Faces {
    embedder: String,
    identifier: Identifier,
    /// Further from the mean of a person's other photos, a photo shows somebody else.
    apart: f32,
    /// A face and the name of its photo.
    named: Vec<(String, Embedding)>,
}

/// Enrols a person from photos, all or none, and drops the photos.
pub async fn enrol(
    pool: &PgPool,
    vault: &Vault,
    models: Option<&Path>,
    actor: &Actor,
    number: &PersonNumber,
    photos: Vec<Photo>,
) -> Result<Enrolled, Error> {
    let count = photos.len();
    if count == 0 || count > PHOTOS {
        return Err(Problem::PhotoCount { most: PHOTOS, kept: KEPT }.into());
    }
    // Before the work: nothing is looked at without consent.
    let mut transaction = pool.begin().await?;
    allowed(&locked(&mut transaction, number).await?)?;
    transaction.rollback().await?;

    let found = embed(models.map(Path::to_owned), photos).await?;

    let lookalike = compare(pool, vault, actor, number, &found).await?;
    let mut transaction = pool.begin().await?;
    let person = locked(&mut transaction, number).await?;
    allowed(&person)?; // it may have been withdrawn meanwhile
    of_one_person(&mut transaction, vault, person.id, &found).await?; // or others enrolled
    for (_, face) in &found.named {
        let id = Uuid::now_v7();
        let label = Label { person: person.id, template: id, embedder: &found.embedder };
        let sealed = Sealed { id, person: person.id, bytes: vault.seal(label, &face.to_bytes())? };
        db::templates::insert(&mut transaction, &sealed, &found.embedder, vault.key_id()).await?;
    }
    db::gallery::touch(&mut transaction, person.id).await?;
    let detail = json!({"photos": count, "lookalike": lookalike});
    db::audit::record(&mut transaction, actor, "person.enrol", &person.id.to_string(), detail).await?;
    let lookalike = match lookalike {
        Some(other) => db::people::find(&mut transaction, other).await?.map(|other| other.number),
        None => None,
    };
    transaction.commit().await?;
    let warning = lookalike.as_ref().map(|other| confusable(number, other));
    Ok(Enrolled { photos: count, lookalike, warning })
}

/// Compares the faces with each other, with the person's own and with everybody else's: nothing is held
/// for that long. Names a lookalike; an error where a photo shows somebody else, which is audited, for
/// the answer tells whether a face is the person's.
async fn compare(
    pool: &PgPool,
    vault: &Vault,
    actor: &Actor,
    number: &PersonNumber,
    found: &Faces,
) -> Result<Option<PersonId>, Error> {
    let mut conn = pool.acquire().await?;
    let person = db::people::known(&mut conn, number).await?;
    let person = person.ok_or_else(|| Problem::PersonUnknown { number: number.clone() })?.id;
    match of_one_person(&mut conn, vault, person, found).await {
        Ok(template) => lookalike(&mut conn, vault, person, found, &template).await,
        Err(refusal @ Error::Problem { problem: Problem::PhotoOfSomebodyElse { .. }, .. }) => {
            let detail = json!({"photos": found.named.len()});
            let (action, subject) = ("person.enrol.refused", person.to_string());
            db::audit::record(&mut conn, actor, action, &subject, detail).await?;
            Err(refusal)
        }
        Err(failure) => Err(failure),
    }
}

fn allowed(person: &Person) -> Result<(), Error> {
    if person.consent {
        Ok(())
    } else {
        Err(Problem::ConsentMissing { number: person.number.clone() }.into())
    }
}

/// The template of all photos of a person, the new ones and those that are known to this embedder; an
/// error where they are too many, or a new one shows somebody else.
async fn of_one_person(
    conn: &mut PgConnection,
    vault: &Vault,
    person: PersonId,
    found: &Faces,
) -> Result<Template, Error> {
    let mut known = Vec::new();
    for row in db::templates::of(conn, &[person], &found.embedder).await? {
        known.push(unseal(vault, &row, &found.embedder)?);
    }
    if known.len() + found.named.len() > KEPT {
        return Err(Problem::PhotoCount { most: PHOTOS, kept: KEPT }.into());
    }
    // Of several new photos of somebody else each has company: those that are known count by themselves, too.
    let before = Template::mean(&known);
    let mut furthest: Option<(f32, &str)> = None;
    for (index, (name, face)) in found.named.iter().enumerate() {
        let others = found.named.iter().enumerate().filter(|(other, _)| *other != index);
        let others = others.map(|(_, (_, face))| face).chain(&known);
        let means = [Template::mean(others), before.clone()];
        let distances = means.iter().flatten().map(|mean| mean.embedding().distance(face));
        let Some(distance) = distances.reduce(f32::max) else { continue };
        if furthest.is_none_or(|(other, _)| distance >= other) {
            furthest = Some((distance, name));
        }
    }
    if let Some((_, name)) = furthest.filter(|(distance, _)| *distance > found.apart) {
        return Err(Problem::PhotoOfSomebodyElse { photo: name.to_owned() }.into());
    }
    let all = found.named.iter().map(|(_, face)| face).chain(&known);
    Ok(Template::mean(all).context("photos that have no mean")?)
}

/// Somebody else whom a terminal would take this face for, or could not tell from it.
async fn lookalike(
    conn: &mut PgConnection,
    vault: &Vault,
    person: PersonId,
    found: &Faces,
    template: &Template,
) -> Result<Option<PersonId>, Error> {
    let mut people: Vec<(Uuid, Template)> = Vec::new();
    let mut faces: Vec<Embedding> = Vec::new();
    let mut rows = db::templates::of_others(conn, person, &found.embedder);
    let mut whose = None;
    loop {
        let row = rows.try_next().await?;
        let next = row.as_ref().map(|row| row.person);
        if next != whose {
            people.extend(whose.map(|person| person.0).zip(Template::mean(&faces)));
            faces.clear();
            whose = next;
        }
        let Some(row) = row else { break };
        faces.push(unseal(vault, &row, &found.embedder)?);
    }
    let alike = found.identifier.lookalike(template.embedding(), &Gallery::of(people));
    Ok(alike.map(|candidate| PersonId(candidate.person)))
}

fn unseal(vault: &Vault, row: &Sealed, embedder: &str) -> anyhow::Result<Embedding> {
    let bytes = vault.unseal(Label { person: row.person, template: row.id, embedder }, &row.bytes)?;
    Ok(Embedding::from_bytes(&bytes, bytes.len() / size_of::<f32>())?)
}

async fn embed(models: Option<PathBuf>, photos: Vec<Photo>) -> Result<Faces, Error> {
    let place = EYES.clone().acquire_owned().await.map_err(anyhow::Error::from)?;
    tokio::task::spawn_blocking(move || {
        let _place = place; // kept as long as the work lasts, whether or not anybody still waits
        let mut eyes = Eyes::open(models.as_deref(), 2).map_err(anyhow::Error::from)?;
        let mut faces = Vec::with_capacity(photos.len());
        for photo in photos {
            let face = Frame::decode(&photo.bytes)
                .map_err(PhotoError::from)
                .and_then(|frame| embed_photo(&mut eyes, &frame))
                .map_err(|reason| unusable(&photo.name, reason))?;
            faces.push((photo.name, face));
        }
        let embedder = eyes.embedder();
        Ok(Faces {
            embedder: embedder.sha256().to_owned(),
            identifier: embedder.identifier(),
            apart: embedder.apart(),
            named: faces,
        })
    })
    .await
    .map_err(anyhow::Error::from)?
}

/// Why a photo can't be used. Its name is often a person's: it is told to the one who sent it, and not logged.
fn unusable(photo: &str, reason: PhotoError) -> Error {
    let photo = photo.to_owned();
    let problem = match reason {
        PhotoError::NoFace => Problem::PhotoWithoutFace { photo },
        PhotoError::SeveralFaces(faces) => Problem::PhotoWithSeveralFaces { photo, faces },
        PhotoError::Turned => Problem::PhotoSideways { photo },
        PhotoError::Poor(Flaw::Small) => Problem::PhotoFaceSmall { photo, least: NARROWEST as u32 },
        PhotoError::Poor(Flaw::Turned) => Problem::PhotoFaceTurned { photo },
        PhotoError::Poor(Flaw::Dark) => Problem::PhotoTooDark { photo },
        PhotoError::Poor(Flaw::Bright) => Problem::PhotoOverexposed { photo },
        PhotoError::Poor(Flaw::Blurred) => Problem::PhotoBlurred { photo },
        PhotoError::Poor(Flaw::Covered) => Problem::PhotoFaceCovered { photo },
        PhotoError::Eyes(error @ models::Error::Picture(_)) => {
            Problem::PhotoUnreadable { photo, reason: error.to_string() }
        }
        PhotoError::Eyes(error) => {
            return anyhow::anyhow!("a photo could not be looked at: {error}").into();
        }
    };
    problem.into()
}

/// Reads photos from files.
pub fn read_photos(files: &[PathBuf]) -> anyhow::Result<Vec<Photo>> {
    use anyhow::{Context, ensure};
    let read = |file: &PathBuf| {
        let name = file.display().to_string();
        let size = std::fs::metadata(file).with_context(|| format!("cannot read {name}"))?.len();
        ensure!(size <= PHOTO_BYTES as u64, "{name} is larger than {} MiB", PHOTO_BYTES >> 20);
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {name}"))?;
        Ok(Photo { name, bytes })
    };
    files.iter().map(read).collect()
}
