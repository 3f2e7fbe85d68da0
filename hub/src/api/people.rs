//! People over HTTP.

use axum::Json;
use axum::extract::multipart::Multipart;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::error::Refusal;
use crate::api::{ApiError, Caller};
use crate::app::App;
use crate::people::{self, PHOTO_BYTES, PHOTOS, Photo};

/// Bytes of an enrolment, at most.
const ENROLMENT_BYTES: usize = 4 * PHOTO_BYTES;

/// A limit on the size of an enrolment.
pub fn photo_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(ENROLMENT_BYTES)
}

/// A person.
#[derive(Serialize, ToSchema)]
pub struct Person {
    id: Uuid,
    number: String,
    name: String,
    /// Whether consent to the use of their face stands.
    consent: bool,
    /// Photos that they were enrolled with. The photos themselves are not kept.
    photos: i64,
}

/// Everybody.
#[utoipa::path(get, path = "/people", responses((status = 200, body = [Person]), (status = 401, body = Refusal)))]
pub async fn list(State(app): State<App>, Caller(actor): Caller) -> Result<Json<Vec<Person>>, ApiError> {
    let people = people::list(&app.pool, &actor.name).await?;
    let person = |p: crate::store::people::Person| Person {
        id: p.id,
        number: p.number,
        name: p.name,
        consent: p.consent,
        photos: p.photos,
    };
    Ok(Json(people.into_iter().map(person).collect()))
}

/// A person to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    /// The number by which the company knows them.
    number: String,
    /// As written in reports.
    name: String,
}

/// A person who was added.
#[derive(Serialize, ToSchema)]
pub struct Added {
    id: Uuid,
}

/// Add a person.
#[utoipa::path(post, path = "/people", request_body = NewPerson, responses(
    (status = 201, body = Added), (status = 400, body = Refusal), (status = 409, body = Refusal)))]
pub async fn add(
    State(app): State<App>,
    Caller(actor): Caller,
    Json(person): Json<NewPerson>,
) -> Result<(StatusCode, Json<Added>), ApiError> {
    let id = people::add(&app.pool, &actor.name, &person.number, &person.name).await?;
    Ok((StatusCode::CREATED, Json(Added { id })))
}

/// Record that a person consented to the use of their face.
#[utoipa::path(put, path = "/people/{number}/consent", params(("number" = String, Path)), responses(
    (status = 204), (status = 404, body = Refusal)))]
pub async fn consent(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(number): Path<String>,
) -> Result<StatusCode, ApiError> {
    people::consent(&app.pool, &actor.name, &number).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End consent: the templates are deleted, on the terminals too.
#[utoipa::path(delete, path = "/people/{number}/consent", params(("number" = String, Path)), responses(
    (status = 204), (status = 404, body = Refusal)))]
pub async fn withdraw(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(number): Path<String>,
) -> Result<StatusCode, ApiError> {
    people::withdraw(&app.pool, &actor.name, &number).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What an enrolment did.
#[derive(Serialize, ToSchema)]
pub struct Enrolled {
    /// Photos that templates were made of.
    photos: usize,
}

/// The form of an enrolment.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
pub struct PhotoForm {
    /// JPEG or PNG, repeated for each photo.
    #[schema(value_type = Vec<String>, format = Binary)]
    photo: Vec<Vec<u8>>,
}

/// Enrol a person from photos of their face; the photos are not kept.
#[utoipa::path(post, path = "/people/{number}/photos", params(("number" = String, Path)),
    request_body(content = PhotoForm, content_type = "multipart/form-data"), responses(
    (status = 200, body = Enrolled), (status = 404, body = Refusal), (status = 409, body = Refusal, description = "no consent"),
    (status = 422, body = Refusal, description = "a photo can't be used")))]
pub async fn enrol(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(number): Path<String>,
    mut form: Multipart,
) -> Result<Json<Enrolled>, ApiError> {
    let mut photos = Vec::new();
    while let Some(field) = form.next_field().await.map_err(ApiError::bad)? {
        if field.name() != Some("photo") || photos.len() == PHOTOS {
            return Err(ApiError::bad(format!(
                "the form has one to {PHOTOS} fields named photo, and no others"
            )));
        }
        let name = field.file_name().unwrap_or("photo").chars().take(100).collect();
        let bytes = field.bytes().await.map_err(ApiError::bad)?;
        if bytes.len() > PHOTO_BYTES {
            return Err(ApiError::bad(format!("a photo has at most {} MiB", PHOTO_BYTES >> 20)));
        }
        photos.push(Photo { name, bytes: bytes.into() });
    }
    let photos =
        people::enrol(&app.pool, &app.vault, app.models.as_deref(), &actor.name, &number, photos).await?;
    Ok(Json(Enrolled { photos }))
}
