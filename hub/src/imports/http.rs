//! Imports over HTTP.

use axum::extract::DefaultBodyLimit;
use axum::extract::multipart::Multipart;
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use crate::clock;
use crate::error::Problem;
use crate::imports::{self, FILE_BYTES, ImportError, Importer, Outcome, Problems, RowProblem, Slot, Upload};
use crate::web::error::{Code, FieldProblem};
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json};

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

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Problem(problem) => problem.into(),
            ImportError::Rows(problems) => {
                let refusal = Self::from(Problem::FileHasProblems { count: problems.count() });
                let Problems { listed, more } = problems;
                let rows = listed.iter().map(|RowProblem { row, column, problem }| {
                    json!({"row": row, "column": column, "reason": problem.to_string()})
                });
                let deprecated = rows.collect();
                refusal.with_rows(listed.into_iter().map(FieldProblem::from).collect(), deprecated, more)
            }
            ImportError::Other(error) => error.into(),
        }
    }
}

impl From<RowProblem> for FieldProblem {
    fn from(problem: RowProblem) -> Self {
        let (code, parameters) = problem.problem.data();
        let detail = problem.problem.to_string();
        Self { field: problem.column, row: Some(problem.row), code: Code(code), parameters, detail }
    }
}

/// Imports a form's file for somebody: all of it, or nothing.
pub async fn import<I: Importer>(
    app: &App,
    caller: &Caller,
    options: &Options,
    form: Multipart,
) -> Result<Json<Outcome>, ApiError> {
    let actor = caller.staff()?;
    let slot = Slot::take()?;
    let file = read(form).await?;
    Ok(Json(imports::import::<I>(&app.pool, slot, actor, options.dry_run, &file, clock::now()).await?))
}

async fn read(mut form: Multipart) -> Result<Upload, ApiError> {
    let field = form.next_field().await?.ok_or(Problem::FormFile)?;
    if field.name() != Some("file") {
        return Err(Problem::FormFile.into());
    }
    let name = field.file_name().unwrap_or("the file").chars().take(100).collect();
    let bytes = field.bytes().await?;
    if form.next_field().await?.is_some() {
        return Err(Problem::FormFile.into());
    }
    Ok(Upload { name, bytes })
}
