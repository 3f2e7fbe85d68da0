//! Imports over HTTP.

use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::extract::multipart::Multipart;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock;
use crate::imports::{self, By, FILE_BYTES, ImportError, Importer, Outcome, Problem, Problems, Slot, Upload};
use crate::web::state::App;
use crate::web::{ApiError, Caller};

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
pub struct ImportProblem {
    /// One sentence for a person.
    error: String,
    /// What is wrong with the rows; at most 1000 problems.
    problems: Vec<Problem>,
    /// How many problems more there are.
    more: usize,
}

/// A refusal that may tell problems of rows.
pub enum ImportFailure {
    /// The file can't be imported.
    Import(ImportProblem),
    /// Anything else.
    Other(ApiError),
}

impl IntoResponse for ImportFailure {
    fn into_response(self) -> Response {
        match self {
            Self::Import(refusal) => (StatusCode::UNPROCESSABLE_ENTITY, Json(refusal)).into_response(),
            Self::Other(error) => error.into_response(),
        }
    }
}

impl From<ApiError> for ImportFailure {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl From<ImportError> for ImportFailure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::File(error) => Self::Import(ImportProblem { error, problems: Vec::new(), more: 0 }),
            ImportError::Rows(problems) => {
                let error = format!("nothing was imported: the file has {} problems", problems.count());
                let Problems { told, more } = problems;
                Self::Import(ImportProblem { error, problems: told, more })
            }
            ImportError::Busy | ImportError::Meanwhile => {
                Self::Other(ApiError::new(StatusCode::CONFLICT, error.to_string()))
            }
            ImportError::Other(error) => Self::Other(error.into()),
        }
    }
}

/// Imports a form's file for somebody: all of it, or nothing.
pub async fn import<I: Importer>(
    app: &App,
    caller: &Caller,
    options: &Options,
    form: Multipart,
) -> Result<Json<Outcome>, ImportFailure> {
    let actor = caller.staff()?;
    let slot = Slot::take()?;
    let file = read(form).await?;
    let by = By { name: &actor.name, person: actor.person };
    Ok(Json(imports::import::<I>(&app.pool, slot, by, options.dry_run, &file, clock::now()).await?))
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
