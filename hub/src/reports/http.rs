//! Reports over HTTP, as JSON, CSV, a workbook or pages; long ones as a stream.

pub mod timesheet;

use anyhow::Context;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::seen_by;
use crate::accounts::{Actor, Scope};
use crate::date::Date;
use crate::db::reports::Filter;
use crate::error::{Error, Problem};
use crate::person::PersonNumber;
#[cfg(feature = "pdf")]
use crate::reports::pdf;
use crate::reports::table::{Cell, Column, Cursor, Page};
use crate::reports::timesheet::Period;
use crate::reports::{Question, Report, Step, csv, json, xlsx};
use crate::web::error::ProblemDetails;
use crate::web::heavy::HeavyPermit;
use crate::web::state::App;
use crate::web::{ApiError, Caller, Path, Query};
use crate::{clock, db};

/// Rows that are read at once.
const PAGE: i64 = 5000;

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_report)).merge(timesheet::routes())
}

/// How a report comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A list of objects.
    #[default]
    Json,
    /// UTF-8, with a header.
    Csv,
    /// A workbook.
    Xlsx,
    /// Pages to print: at most 5000 rows. Only in hubs that were built with the feature `pdf`.
    Pdf,
}

/// A report that is no text.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes the answer in the OpenAPI document")]
pub struct File(Vec<u8>);

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// First date, `YYYY-MM-DD`; today if left out.
    from: Option<Date>,
    /// Last date; the first if left out.
    to: Option<Date>,
    /// One person's number.
    #[param(value_type = Option<String>)]
    number: Option<PersonNumber>,
    /// A department's name.
    department: Option<String>,
    /// A site's name. Of presence: whoever belongs there or came through a door there.
    site: Option<String>,
    /// The steps of the trend of punctuality.
    step: Option<Step>,
    /// How the report comes.
    format: Option<Shape>,
    /// A page of so many rows (at most 5000) as JSON. The answer's header `x-next-after` says where
    /// the next one begins; it is missing at the end.
    #[param(minimum = 1, maximum = 5000)]
    limit: Option<u32>,
    /// Where the page begins.
    after: Option<String>,
}

/// A report: daily, timesheet, lateness, absence, overtime, exceptions, presence, punctuality or
/// silence (terminals that absences wait for). Managers see their people in it, employees themselves.
#[utoipa::path(get, path = "/reports/{report}", params(("report" = Report, Path), Parameters), responses(
    (status = 200, description = "a list of objects, or the file", content((Vec<serde_json::Value> = "application/json"),
        (String = "text/csv"), (File = "application/pdf"), (File = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")),
        headers(("x-next-after" = String, description = "where there is more of a page: the `after` of the next one"))),
    (status = 404, body = ProblemDetails, description = "there is no such person, department or site"),
    (status = 429, body = ProblemDetails, description = "the account has two reports or dry runs under way, or too many PDFs wait"),
    (status = 501, body = ProblemDetails, description = "this hub was built without PDFs")))]
pub async fn get_report(
    State(app): State<App>,
    caller: Caller,
    Path(report): Path<Report>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, ApiError> {
    let permit = caller.permit(&app)?;
    let question = question(&app, report, &parameters, caller.scope())?;
    let after = parameters
        .after
        .as_deref()
        .map(Cursor::read)
        .transpose()
        .map_err(|error| Problem::QueryInvalid { reason: error.to_string() }.of("after"))?;
    let shape = parameters.format.unwrap_or_default();
    let detail = json!({"from": question.filter.from.to_string(), "to": question.filter.to.to_string(),
        "number": question.filter.number, "department": question.filter.department, "site": question.filter.site});
    let mut conn = app.pool.acquire().await?;
    exists(&mut conn, &caller.0, &question.filter).await?;
    let action = format!("report.{}", report.as_str());
    db::audit::record(&mut conn, &caller.0.name, &action, report.as_str(), detail).await?;
    if let Some(limit) = parameters.limit {
        if shape != Shape::Json {
            return Err(Problem::PagesAreJson.of("limit").into());
        }
        let most = i64::from(limit).clamp(1, PAGE);
        drop(conn);
        let page = page(&permit, &app.pool, &question, after, most).await?;
        return Ok(permit.until_sent(one_page(report, &page)?));
    }
    drop(conn);
    let name = format!("{}-{}-{}", report.as_str(), question.filter.from, question.filter.to);
    let answer = match shape {
        Shape::Json => whole(&permit, app.pool, question, after, shape).await?,
        Shape::Csv => {
            (named(&name, "csv")?, whole(&permit, app.pool, question, after, shape).await?).into_response()
        }
        Shape::Xlsx => {
            let workbook = Box::pin(workbook(&permit, &app.pool, &question)).await?;
            (named(&name, "xlsx")?, workbook).into_response()
        }
        Shape::Pdf => (named(&name, "pdf")?, pages(&permit, &app, question).await?).into_response(),
    };
    Ok(permit.until_sent(answer))
}

fn question(app: &App, report: Report, parameters: &Parameters, scope: Scope) -> Result<Question, ApiError> {
    let period = Period::asked(parameters.from, parameters.to, app.today())?;
    if report == Report::Daily && period.from != period.to {
        return Err(Problem::OneDateOnly.of("to").into());
    }
    let filter = Filter {
        from: period.from,
        to: period.to,
        number: parameters.number.clone(),
        department: parameters.department.clone(),
        site: parameters.site.clone(),
        manager: scope.manager,
        own: scope.own,
    };
    let duplicate_within_s = app.policy.duplicate_within_s;
    Ok(Question {
        report,
        filter,
        step: parameters.step.unwrap_or_default(),
        duplicate_within_s,
        now: clock::now(),
    })
}

/// Refuses what names nobody and nothing: an empty report would look as if there had been no work.
async fn exists(conn: &mut PgConnection, actor: &Actor, filter: &Filter) -> Result<(), Error> {
    if let Some(number) = &filter.number {
        seen_by(conn, actor, number).await?;
    }
    match db::reports::unknown(conn, filter).await? {
        Some(problem) => Err(problem.into()),
        None => Ok(()),
    }
}

fn one_page(report: Report, page: &Page) -> Result<Response, ApiError> {
    let rows = json::rows(report.columns(), &page.rows)?;
    let mut answer =
        ([(CONTENT_TYPE, "application/json")], [b"[", &rows[..], b"]\n"].concat()).into_response();
    if let Some(next) = &page.next {
        let value = HeaderValue::from_str(&next.write()).map_err(anyhow::Error::from)?;
        answer.headers_mut().insert(HeaderName::from_static("x-next-after"), value);
    }
    Ok(answer)
}

fn named(name: &str, ending: &str) -> Result<[(HeaderName, HeaderValue); 2], ApiError> {
    let kind = match ending {
        "csv" => "text/csv; charset=utf-8",
        "pdf" => "application/pdf",
        _ => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    };
    let attachment = HeaderValue::from_str(&format!("attachment; filename=\"{name}.{ending}\""));
    Ok([
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_DISPOSITION, attachment.map_err(anyhow::Error::from)?),
    ])
}

/// A page of a report.
async fn page(
    permit: &HeavyPermit,
    pool: &PgPool,
    question: &Question,
    after: Option<Cursor>,
    most: i64,
) -> anyhow::Result<Page> {
    let (pool, question) = (pool.clone(), question.clone());
    let read = async move {
        let mut conn = pool.acquire().await?;
        question.page(&mut conn, after.as_ref(), most).await
    };
    permit.hold(read).await?
}

/// Where a stream stands.
struct Progress {
    permit: HeavyPermit,
    pool: PgPool,
    question: Question,
    shape: Shape,
    after: Option<Cursor>,
    begun: bool,
    done: bool,
}

impl Progress {
    /// The next piece of the answer.
    async fn piece(&mut self) -> anyhow::Result<Bytes> {
        let columns = self.question.report.columns();
        let mut page = page(&self.permit, &self.pool, &self.question, self.after.take(), PAGE).await?;
        let first = !std::mem::replace(&mut self.begun, true);
        self.done = page.next.is_none();
        self.after = page.next.take();
        let (shape, last) = (self.shape, self.done);
        // Not on the threads that deliver punches.
        let written = tokio::task::spawn_blocking(move || write(shape, columns, &page.rows, first, last));
        Ok(written.await.context("writing a report")??.into())
    }
}

/// Rows as they stand in the answer, of which they are the first or the last.
fn write(
    shape: Shape,
    columns: &[Column],
    rows: &[Vec<Cell>],
    first: bool,
    last: bool,
) -> anyhow::Result<Vec<u8>> {
    Ok(match shape {
        Shape::Csv if first => (csv::header(columns) + &csv::rows(rows)).into_bytes(),
        Shape::Csv => csv::rows(rows).into_bytes(),
        _ => {
            let open: &[u8] = if first {
                b"["
            } else if rows.is_empty() {
                b""
            } else {
                b",\n"
            };
            let close: &[u8] = if last { b"]\n" } else { b"" };
            [open, &json::rows(columns, rows)?, close].concat()
        }
    })
}

/// All pages, one after another as they are taken. The first is read before anything is answered,
/// so that most failures are told as such.
async fn whole(
    permit: &HeavyPermit,
    pool: PgPool,
    question: Question,
    after: Option<Cursor>,
    shape: Shape,
) -> Result<Response, ApiError> {
    let mut progress =
        Progress { permit: permit.clone(), pool, question, shape, after, begun: false, done: false };
    let first = progress.piece().await?;
    let rest = stream::unfold(progress, |mut progress| async move {
        if progress.done {
            return None;
        }
        let piece = progress.piece().await;
        if let Err(error) = &piece {
            tracing::error!(error = format!("{error:#}"), "a report ended early");
            progress.done = true;
        }
        Some((piece, progress))
    });
    let pieces = futures_util::StreamExt::chain(stream::iter([Ok(first)]), rest);
    let body = Body::from_stream(futures_util::TryStreamExt::map_err(pieces, axum::Error::new));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// A workbook is written whole before it is sent: its directory stands at the end.
async fn workbook(permit: &HeavyPermit, pool: &PgPool, question: &Question) -> Result<Vec<u8>, ApiError> {
    let mut sheet = xlsx::Sheet::new(question.report.as_str(), question.report.columns())?;
    let mut after = None;
    loop {
        let page = page(permit, pool, question, after.take(), PAGE).await?;
        sheet = tokio::task::spawn_blocking(move || sheet.add(&page.rows).map(|()| (sheet, page.next)))
            .await
            .context("writing a workbook")?
            .map(|(sheet, next)| {
                after = next;
                sheet
            })?;
        if after.is_none() {
            break;
        }
    }
    Ok(tokio::task::spawn_blocking(move || sheet.finish()).await.context("writing a workbook")??)
}

/// What is printed: dates and when it was made, then the rows.
#[cfg(feature = "pdf")]
async fn pages(permit: &HeavyPermit, app: &App, question: Question) -> Result<Vec<u8>, ApiError> {
    let full = || ApiError::from(Problem::PdfQueueFull).after(60);
    let _place = pdf::queue().ok_or_else(full)?;
    let made = question.now.to_zoned(app.zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string();
    let subtitle = format!("{} to {}, made {made}", question.filter.from, question.filter.to);
    let (title, columns) = (question.report.title(), question.report.columns());
    let page = page(permit, &app.pool, &question, None, pdf::ROWS as i64 + 1).await?;
    if page.rows.len() > pdf::ROWS {
        return Err(Problem::PdfTooLong { rows: pdf::ROWS }.of("format").into());
    }
    Ok(pdf::Document::new(&title, &subtitle, columns, &page.rows).print().await?)
}

#[cfg(not(feature = "pdf"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn pages(_: &HeavyPermit, _: &App, _: Question) -> Result<Vec<u8>, ApiError> {
    Err(Problem::PdfNotBuilt.into())
}
