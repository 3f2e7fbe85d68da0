//! Terminals over HTTP.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::Refusal;
use crate::api::{ApiError, Caller};
use crate::app::App;
use crate::reports::timesheet::local;
use crate::store;

/// A terminal.
#[derive(Serialize, ToSchema)]
pub struct Terminal {
    device: String,
    name: String,
    /// accepted or revoked.
    state: String,
    /// When its certificate expires.
    expires_at: String,
    /// When it last said anything.
    seen_at: Option<String>,
    software: Option<String>,
    /// Punches that wait in it.
    queued: Option<i64>,
}

/// All terminals.
#[utoipa::path(get, path = "/terminals", responses((status = 200, body = [Terminal]), (status = 401, body = Refusal)))]
pub async fn list(State(app): State<App>, _caller: Caller) -> Result<Json<Vec<Terminal>>, ApiError> {
    let mut conn = app.pool.acquire().await.map_err(anyhow::Error::from)?;
    let terminals = store::terminals::list(&mut conn).await.map_err(anyhow::Error::from)?;
    let terminal = |t: store::terminals::Terminal| Terminal {
        device: t.device,
        name: t.name,
        state: t.state,
        expires_at: local(t.expires_at.to_jiff(), &app.zone),
        seen_at: t.seen_at.map(|at| local(at.to_jiff(), &app.zone)),
        software: t.software,
        queued: t.queued,
    };
    Ok(Json(terminals.into_iter().map(terminal).collect()))
}
