//! People over HTTP.

use axum::extract::multipart::Multipart;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db::people::{Person, PersonFilter};
use crate::error::Problem;
use crate::imports::Outcome;
use crate::imports::http as imports;
use crate::imports::http::{ImportForm, Options, file_limit};
use crate::people;
use crate::people::enrolment::{self, Enrolled, PHOTO_BYTES, PHOTOS, Photo};
use crate::people::import::Plan;
use crate::people::profile::{self, PersonSetting};
use crate::person::{PersonId, PersonNumber};
use crate::schedules::Effect;
use crate::text::NameText;
use crate::web::error::ProblemDetails;
use crate::web::query::DryRun;
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path, Query};

/// People of a page, where nothing is said.
const PAGE: i64 = 1000;
/// And at most.
const LONGEST_PAGE: i64 = 10_000;
/// Bytes of an enrolment, at most.
const ENROLMENT_BYTES: usize = 4 * PHOTO_BYTES;

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_people, add_person))
        .routes(routes!(get_person, change_person))
        .routes(routes!(record_consent, withdraw_consent))
        .merge(OpenApiRouter::new().routes(routes!(enrol_person)).layer(photo_limit()))
        .merge(OpenApiRouter::new().routes(routes!(import_people)).layer(file_limit()))
}

/// A limit on the size of an enrolment.
pub fn photo_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(ENROLMENT_BYTES)
}

/// Which people; all where nothing is said.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Search {
    /// Those of a department.
    department: Option<String>,
    /// Those of a site.
    site: Option<String>,
    /// Those of the manager with this number.
    #[param(value_type = Option<String>)]
    manager: Option<PersonNumber>,
    /// Those with this in their number or their name.
    q: Option<String>,
    /// Those whose number comes after this one.
    #[param(value_type = Option<String>)]
    after: Option<PersonNumber>,
    /// At most so many: 1000 if left out, never more than 10000.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
}

/// People, by number.
#[utoipa::path(get, path = "/people", params(Search), responses(
    (status = 200, body = [Person], headers(
        ("x-next-after" = String, description = "where there may be more: the `after` of the next page, percent-encoded")))))]
pub async fn list_people(
    State(app): State<App>,
    caller: Caller,
    Query(search): Query<Search>,
) -> Result<(HeaderMap, Json<Vec<Person>>), ApiError> {
    let most = search.limit.map_or(PAGE, |limit| i64::from(limit).clamp(1, LONGEST_PAGE));
    let filter = PersonFilter {
        department: search.department.as_deref(),
        site: search.site.as_deref(),
        manager: search.manager.as_ref(),
        text: search.q.as_deref(),
        after: search.after.as_ref(),
        ..PersonFilter::default()
    };
    let people = people::search(&app.pool, caller.staff()?, filter, most).await?;
    let mut headers = HeaderMap::new();
    if let Some(last) = people.last().filter(|_| people.len() as i64 == most) {
        let next = HeaderValue::from_str(&percent_encoded(&last.number)).map_err(anyhow::Error::from)?;
        headers.insert(HeaderName::from_static("x-next-after"), next);
    }
    Ok((headers, Json(people)))
}

/// As a query wants it: all but RFC 3986's unreserved characters.
fn percent_encoded(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

/// One person.
#[utoipa::path(get, path = "/people/{number}", params(("number" = String, Path)), responses(
    (status = 200, body = Person)))]
pub async fn get_person(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<PersonNumber>,
) -> Result<Json<Person>, ApiError> {
    Ok(Json(people::look(&app.pool, caller.staff()?, &number).await?))
}

/// Change what is said of a person. A change of site or employment lets all their days be computed
/// again.
#[utoipa::path(patch, path = "/people/{number}", params(("number" = String, Path), DryRun), request_body = PersonSetting,
    responses((status = 200, body = Effect), (status = 429, body = ProblemDetails)))]
pub async fn change_person(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<PersonNumber>,
    Query(trial): Query<DryRun>,
    Json(setting): Json<PersonSetting>,
) -> Result<Json<Effect>, ApiError> {
    let change = app.change(caller.staff()?, trial.dry_run)?;
    Ok(Json(profile::set(&change, &number, setting).await?))
}

/// A person to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    /// The number by which the company knows them.
    number: PersonNumber,
    /// As written in reports.
    #[schema(value_type = NameText)]
    name: String,
}

/// A person who was added.
#[derive(Serialize, ToSchema)]
pub struct Added {
    #[schema(value_type = Uuid)]
    id: PersonId,
}

/// Add a person.
#[utoipa::path(post, path = "/people", request_body = NewPerson, responses(
    (status = 201, body = Added), (status = 409, body = ProblemDetails)))]
pub async fn add_person(
    State(app): State<App>,
    caller: Caller,
    Json(person): Json<NewPerson>,
) -> Result<(StatusCode, Json<Added>), ApiError> {
    let id = people::add(&app.pool, caller.staff()?, &person.number, &person.name).await?;
    Ok((StatusCode::CREATED, Json(Added { id })))
}

/// Record that a person consented to the use of their face.
#[utoipa::path(put, path = "/people/{number}/consent", params(("number" = String, Path)), responses(
    (status = 204)))]
pub async fn record_consent(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<PersonNumber>,
) -> Result<StatusCode, ApiError> {
    people::consent(&app.pool, caller.staff()?, &number).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End consent: the templates are deleted, on the terminals too.
#[utoipa::path(delete, path = "/people/{number}/consent", params(("number" = String, Path)), responses(
    (status = 204)))]
pub async fn withdraw_consent(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<PersonNumber>,
) -> Result<StatusCode, ApiError> {
    people::withdraw(&app.pool, caller.staff()?, &number).await?;
    Ok(StatusCode::NO_CONTENT)
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
    (status = 200, body = Enrolled), (status = 409, body = ProblemDetails, description = "no consent"),
    (status = 422, body = ProblemDetails, description = "a photo can't be used")))]
pub async fn enrol_person(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<PersonNumber>,
    mut form: Multipart,
) -> Result<Json<Enrolled>, ApiError> {
    let actor = caller.staff()?;
    let mut photos = Vec::new();
    while let Some(field) = form.next_field().await? {
        if field.name() != Some("photo") || photos.len() == PHOTOS {
            return Err(Problem::FormPhotos { most: PHOTOS }.into());
        }
        let name = field.file_name().unwrap_or("photo").chars().take(100).collect();
        let bytes = field.bytes().await?;
        if bytes.len() > PHOTO_BYTES {
            return Err(Problem::PhotoTooLarge { mebibytes: PHOTO_BYTES >> 20 }.into());
        }
        photos.push(Photo { name, bytes: bytes.into() });
    }
    let models = app.models.as_deref();
    Ok(Json(enrolment::enrol(&app.pool, &app.vault, models, actor, &number, photos).await?))
}

/// Import people: all of the file, or nothing of it.
///
/// Columns: number, name; if wanted email, department, site, manager (a number), language, `employed_from`,
/// `employed_to`. Known numbers are changed, where an empty cell leaves things as they are; departments are
/// made. Nobody changes their own site, manager or employment: such rows are problems.
///
/// Dates are written YYYY-MM-DD or are a workbook's own. Numbers of people keep their leading zeros in CSV and in
/// cells that are formatted as text only. One import runs at a time.
#[utoipa::path(post, path = "/imports/people",
    params(Options), request_body(content = ImportForm, content_type = "multipart/form-data"), responses(
    (status = 200, body = Outcome), (status = 409, body = ProblemDetails, description = "another import is running, or somebody else changed the same things meanwhile"),
    (status = 422, body = ProblemDetails, description = "the file has problems")))]
pub async fn import_people(
    State(app): State<App>,
    caller: Caller,
    Query(options): Query<Options>,
    form: Multipart,
) -> Result<Json<Outcome>, ApiError> {
    imports::import::<Plan>(&app, &caller, &options, form).await
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_number_goes_into_a_query() {
        assert_eq!(super::percent_encoded("A-7.x_~"), "A-7.x_~");
        assert_eq!(super::percent_encoded("ä &b"), "%C3%A4%20%26b");
    }
}
