//! Who looks at a page.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};

use crate::accounts::{self, Actor};
use crate::web::ApiError;
use crate::web::session::token_of;
use crate::web::state::App;

/// Somebody who has logged in; anybody else is sent to the login.
pub struct Visitor {
    /// Who they are.
    pub actor: Actor,
    /// The token of their session.
    pub token: String,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let to_login = || Redirect::to("/login").into_response();
        let token = token_of(parts).ok_or_else(to_login)?;
        let actor =
            accounts::recognise(&app.pool, &token).await.map_err(|e| ApiError::from(e).into_response())?;
        actor.map(|actor| Self { actor, token }).ok_or_else(to_login)
    }
}
