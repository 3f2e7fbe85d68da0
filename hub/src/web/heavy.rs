//! Requests that read or compute much: a few of an account at a time, so that nobody keeps the database
//! and the processors to themselves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::accounts::Actor;
use crate::error::Problem;
use crate::limits::Permit;
use crate::web::error::ApiError;
use crate::web::session::Caller;
use crate::web::state::App;

/// Heavy requests of one account at a time.
pub const OF_ACCOUNT: usize = 2;

/// An account's permit for a heavy request.
#[derive(Clone)]
pub struct HeavyPermit {
    _permit: Arc<Permit<String>>,
}

impl App {
    /// A permit for a heavy request; 429 where the account has enough of them under way.
    pub fn permit(&self, actor: &Actor) -> Result<Permit<String>, ApiError> {
        let permit = self.heavy.take(actor.name.clone());
        Ok(permit.ok_or(Problem::AccountBusy { most: OF_ACCOUNT })?)
    }
}

impl Caller {
    /// A permit that may be shared with tasks.
    pub fn permit(&self, app: &App) -> Result<HeavyPermit, ApiError> {
        Ok(HeavyPermit { _permit: Arc::new(app.permit(&self.0)?) })
    }
}

/// Does a request to its end, also where nobody waits for the answer any more: PostgreSQL computes on when
/// a client has hung up, and a permit must last as long.
pub async fn to_its_end(request: Request, next: Next) -> Result<Response, ApiError> {
    #[expect(clippy::disallowed_methods, reason = "ends with one request")]
    let done = tokio::spawn(next.run(request));
    Ok(done.await.context("a request panicked")?)
}

impl HeavyPermit {
    /// Does a part of an answer to its end, and keeps the permit as long: see [`to_its_end`], which reaches
    /// as far as the answer's beginning.
    pub async fn hold<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let permit = self.clone();
        #[expect(clippy::disallowed_methods, reason = "ends with one query")]
        let done = tokio::spawn(async move {
            let done = work.await;
            drop(permit);
            done
        });
        done.await.context("a heavy request panicked")
    }

    /// The permit ends when the whole answer has been sent.
    pub fn until_sent(self, answer: impl IntoResponse) -> Response {
        answer.into_response().map(|body| Body::new(Held { body, _permit: self }))
    }
}

/// A body that holds a permit.
struct Held {
    body: Body,
    _permit: HeavyPermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
