//! The web console: a login, and today's punches and timesheet as they change.

pub mod live;
mod visitor;

use askama::Template;
use askama_web::WebTemplate;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use rust_embed::RustEmbed;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::accounts::{self, Actor};
use crate::clock;
use crate::console::live::SHOWN;
use crate::console::visitor::Visitor;
use crate::date::Date;
use crate::db::punches::Punch;
use crate::db::reports::Filter;
use crate::punches::listing;
use crate::reports::days::Day;
use crate::reports::{silence, timesheet};
use crate::web::ApiError;
use crate::web::session::{COOKIE, login_limit, token_of};
use crate::web::state::App;

/// Days before today whose provisional absences the page speaks of.
const NOTICED_DAYS: i32 = 7;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

#[derive(Template, WebTemplate)]
#[template(path = "login.html")]
struct LoginPage {
    refused: bool,
}

#[derive(Template, WebTemplate)]
#[template(path = "today.html")]
struct TodayPage {
    actor: String,
    /// Whether they see everybody, and the punches as they come.
    staff: bool,
    date: String,
    punches: Vec<Punch>,
    timesheet: Vec<Day>,
    /// Terminals that absences wait for.
    notices: Vec<String>,
}

/// The console's routes.
pub fn router() -> Router<App> {
    Router::new()
        .route("/", get(today))
        .route("/live", get(live::live))
        .route("/logout", post(log_out))
        .route("/assets/{file}", get(asset))
        .merge(Router::new().route("/login", post(log_in)).layer(login_limit()))
        .route("/login", get(|| async { LoginPage { refused: false } }))
}

async fn today(State(app): State<App>, Visitor { actor, .. }: Visitor) -> Result<TodayPage, ApiError> {
    let date = app.today();
    let period = timesheet::Period::of(date);
    // The raw punches are for those who see everybody.
    let mut punches = if actor.role.is_staff() {
        listing::of_date(&app.pool, &app.zone, date, &actor).await?
    } else {
        Vec::new()
    };
    punches.truncate(SHOWN);
    let timesheet = timesheet::timesheet(&app.pool, period, &actor, clock::now()).await?;
    let notices = notices(&app, &actor, date).await?;
    Ok(TodayPage {
        actor: format!("{} ({})", actor.name, actor.role.as_str()),
        staff: actor.role.is_staff(),
        date: date.to_string(),
        punches,
        timesheet,
        notices,
    })
}

/// What hangs on terminals that say nothing, for those who see everybody.
async fn notices(app: &App, actor: &Actor, date: Date) -> Result<Vec<String>, ApiError> {
    if !actor.role.is_staff() {
        return Ok(Vec::new());
    }
    let filter = Filter::between(date.plus(-NOTICED_DAYS), date);
    let mut conn = app.pool.acquire().await?;
    Ok(silence::silent(&mut conn, &filter, clock::now()).await?.into_iter().map(|row| row.notice).collect())
}

/// The form of the login. No `Debug`.
#[derive(Deserialize)]
struct LoginForm {
    name: String,
    password: String,
}

async fn log_in(
    State(app): State<App>,
    jar: CookieJar,
    Form(form): Form<LoginForm>,
) -> Result<Response, ApiError> {
    let password = Zeroizing::new(form.password);
    let Some(token) = accounts::log_in(&app.pool, &form.name, password, clock::now()).await? else {
        return Ok((StatusCode::UNAUTHORIZED, LoginPage { refused: true }).into_response());
    };
    let cookie =
        Cookie::build((COOKIE, token.0)).path("/").secure(true).http_only(true).same_site(SameSite::Strict);
    Ok((jar.add(cookie), Redirect::to("/")).into_response())
}

async fn log_out(State(app): State<App>, parts: Parts) -> Result<Response, ApiError> {
    if let Some(token) = token_of(&parts) {
        accounts::log_out(&app.pool, &token).await?;
    }
    let jar = CookieJar::from_headers(&parts.headers);
    let gone = Cookie::build((COOKIE, "")).path("/").secure(true).http_only(true);
    Ok((jar.remove(gone), Redirect::to("/login")).into_response())
}

async fn asset(Path(file): Path<String>) -> Response {
    let kind = match file.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    match Assets::get(&file) {
        Some(asset) => ([(header::CONTENT_TYPE, kind)], asset.data).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
