//! Imports over HTTP.

use axum::Json;
use axum::extract::multipart::Multipart;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::error::Refusal;
use crate::api::{ApiError, Caller};
use crate::app::App;
use crate::clock;
use crate::import::{
    self, By, FILE_BYTES, ImportError, Kind, Order, Outcome, Problem, Problems, Turn, Upload,
};

/// Bytes of a form around its file, at most.
const FORM_BYTES: usize = 64 << 10;

/// A limit on the size of an import.
pub fn file_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(FILE_BYTES + FORM_BYTES)
}

/// How to import.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// true: change nothing, only say what would change; false if left out.
    #[serde(default)]
    dry_run: bool,
}

/// The form of an import.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
pub struct ImportForm {
    /// CSV in UTF-8, with commas or semicolons, or an .xlsx workbook, whose first worksheet that is
    /// not hidden counts; at most 16 MiB and 200,000 rows. The first row names the columns.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Why nothing was imported.
#[derive(Serialize, ToSchema)]
pub struct ImportRefusal {
    /// One sentence for a person.
    error: String,
    /// What is wrong with the rows; at most 1000 problems.
    problems: Vec<Problem>,
    /// How many problems more there are.
    more: usize,
}

/// A refusal that may tell problems of rows.
pub enum Refused {
    /// The file can't be imported.
    Import(ImportRefusal),
    /// Anything else.
    Other(ApiError),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Import(refusal) => (StatusCode::UNPROCESSABLE_ENTITY, Json(refusal)).into_response(),
            Self::Other(error) => error.into_response(),
        }
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl From<ImportError> for Refused {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::File(error) => Self::Import(ImportRefusal { error, problems: Vec::new(), more: 0 }),
            ImportError::Rows(problems) => {
                let error = format!("nothing was imported: the file has {} problems", problems.count());
                let Problems { told, more } = problems;
                Self::Import(ImportRefusal { error, problems: told, more })
            }
            ImportError::Busy | ImportError::Meanwhile => {
                Self::Other(ApiError::new(StatusCode::CONFLICT, error.to_string()))
            }
            ImportError::Other(error) => Self::Other(error.into()),
        }
    }
}

/// Import people, who follows which schedule, or leave: all of the file, or nothing of it.
///
/// The columns of people: number, name; if wanted email, department, site, manager (a number), language,
/// `employed_from`, `employed_to`. Known numbers are changed, where an empty cell leaves things as they
/// are; departments are made. Of schedules: number, schedule, from; if wanted to. Of leave: number, from; if
/// wanted to, half, reason. Dates are written YYYY-MM-DD or are a workbook's own. Numbers of people keep
/// their leading zeros in CSV and in cells that are formatted as text only.
///
/// Nobody changes their own schedule, leave, site or employment: such rows are problems. One import
/// runs at a time.
#[utoipa::path(post, path = "/imports/{kind}",
    params(("kind" = String, Path, description = "people, schedules or leave"), Options),
    request_body(content = ImportForm, content_type = "multipart/form-data"), responses(
    (status = 200, body = Outcome), (status = 400, body = Refusal), (status = 401, body = Refusal),
    (status = 403, body = Refusal), (status = 404, body = Refusal),
    (status = 409, body = Refusal, description = "another import is running, or somebody else changed the same things meanwhile"),
    (status = 422, body = ImportRefusal, description = "the file has problems")))]
pub async fn import(
    State(app): State<App>,
    caller: Caller,
    Path(kind): Path<String>,
    Query(options): Query<Options>,
    form: Multipart,
) -> Result<Json<Outcome>, Refused> {
    caller.staff()?;
    let kind = Kind::named(&kind).ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "there are imports of people, of schedules and of leave")
    })?;
    let turn = Turn::take()?;
    let file = read(form).await?;
    let by = By { name: &caller.0.name, person: caller.0.person };
    let order = Order { kind, dry_run: options.dry_run };
    Ok(Json(import::import(&app.pool, turn, by, order, &file, clock::now()).await?))
}

async fn read(mut form: Multipart) -> Result<Upload, ApiError> {
    let refused = || ApiError::bad("the form has one field, named file, and no others");
    let field = form.next_field().await.map_err(ApiError::bad)?.ok_or_else(refused)?;
    if field.name() != Some("file") {
        return Err(refused());
    }
    let name = field.file_name().unwrap_or("the file").chars().take(100).collect();
    let bytes = field.bytes().await.map_err(ApiError::bad)?;
    if form.next_field().await.map_err(ApiError::bad)?.is_some() {
        return Err(refused());
    }
    Ok(Upload { name, bytes })
}
