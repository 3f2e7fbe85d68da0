//! The web console: a login, and today's punches and timesheet as they change.

mod live;

use askama::Template;
use askama_web::WebTemplate;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use jiff::ToSpan;
use jiff::civil::Date;
use rust_embed::RustEmbed;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::api::{ApiError, login_limit, token_of};
use crate::app::App;
use crate::clock;
use crate::identity::{self, Actor};
use crate::reports::{punches, silence, timesheet};
use crate::store::reports::Filter;

/// The cookie of a session. The prefix makes browsers insist on HTTPS and on this host alone.
pub const COOKIE: &str = "__Host-rollcall";
/// Live streams of one session at a time.
pub const STREAMS: usize = 3;
/// Punches that the page shows, at most.
const SHOWN: usize = 200;
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
    punches: Vec<punches::Row>,
    timesheet: Vec<timesheet::Row>,
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

/// Somebody who has logged in; anybody else is sent to the login.
struct Visitor {
    actor: Actor,
    token: String,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let to_login = || Redirect::to("/login").into_response();
        let token = token_of(parts).ok_or_else(to_login)?;
        let actor =
            identity::recognise(&app.pool, &token).await.map_err(|e| ApiError::from(e).into_response())?;
        actor.map(|actor| Self { actor, token }).ok_or_else(to_login)
    }
}

async fn today(State(app): State<App>, Visitor { actor, .. }: Visitor) -> Result<TodayPage, ApiError> {
    let date = app.today();
    let period = timesheet::Period::of(date);
    // The raw punches are for those who see everybody.
    let mut punches = if actor.role.is_staff() {
        punches::of_date(&app.pool, &app.zone, date, &actor.name).await?
    } else {
        Vec::new()
    };
    punches.truncate(SHOWN);
    let who = (actor.name.as_str(), actor.scope());
    let timesheet = timesheet::timesheet(&app.pool, period, who, clock::now()).await?;
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
    let filter = Filter::between(date.saturating_sub(NOTICED_DAYS.days()), date);
    let mut conn = app.pool.acquire().await.map_err(anyhow::Error::from)?;
    Ok(silence::notices(&mut conn, &filter, clock::now()).await?)
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
    let Some(token) = identity::log_in(&app.pool, &form.name, password, clock::now()).await? else {
        return Ok((StatusCode::UNAUTHORIZED, LoginPage { refused: true }).into_response());
    };
    let cookie =
        Cookie::build((COOKIE, token.0)).path("/").secure(true).http_only(true).same_site(SameSite::Strict);
    Ok((jar.add(cookie), Redirect::to("/")).into_response())
}

async fn log_out(State(app): State<App>, parts: Parts) -> Result<Response, ApiError> {
    if let Some(token) = token_of(&parts) {
        identity::log_out(&app.pool, &token).await?;
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
