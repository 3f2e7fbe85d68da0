//! Today's tables, sent again whenever a punch is committed (server-sent events).

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use askama::Template;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use crate::accounts::{self, Actor};
use crate::console::visitor::Visitor;
use crate::db::punches::Punch;
use crate::error::Problem;
use crate::punches::listing;
use crate::reports::days::Day;
use crate::reports::timesheet;
use crate::web::ApiError;
use crate::web::state::App;
use crate::{clock, db};

/// Live streams of one session at a time.
pub const STREAMS: usize = 3;
/// Punches that the page shows, at most.
pub const SHOWN: usize = 200;
/// Between two updates, however many punches there are.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at whether the session still stands.
const LOOK: Duration = Duration::from_secs(5);
/// What depends on the time of day, such as who is expected, is shown anew after this.
const REFRESH: Duration = Duration::from_mins(1);
/// The browser connects again after this, and its session is looked at again.
const LONGEST: Duration = Duration::from_mins(10);

#[derive(Template)]
#[template(path = "punches.html")]
struct Punches {
    punches: Vec<Punch>,
}

#[derive(Template)]
#[template(path = "timesheet.html")]
struct Timesheet {
    timesheet: Vec<Day>,
}

/// The stream of one browser.
pub async fn live(
    State(app): State<App>,
    Visitor { actor, token }: Visitor,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let turn = app
        .streams
        .take(accounts::token_hash(&token))
        .ok_or_else(|| ApiError::from(Problem::TooManyStreams { most: STREAMS }).after(LONGEST.as_secs()))?;
    let mut conn = app.pool.acquire().await?;
    db::audit::record(&mut conn, &actor.name, "report.live", "today", json!({})).await?;
    drop(conn);
    let (send, receive) = mpsc::channel(4);
    // Ends with its browser, its session, the hub, or after ten minutes: nobody has to wait for it.
    #[expect(clippy::disallowed_methods, reason = "bound to this connection, see above")]
    tokio::spawn(async move {
        let stop = app.stop.clone();
        tokio::select! {
            () = feed(app, token, send) => {}
            () = tokio::time::sleep(LONGEST) => {}
            () = stop.cancelled() => {}
        }
        drop(turn);
    });
    Ok(Sse::new(ReceiverStream::new(receive)).keep_alive(KeepAlive::default()))
}

/// Sends until the browser has gone or the session has ended, which is looked at before each update.
async fn feed(app: App, token: String, send: mpsc::Sender<Result<Event, Infallible>>) {
    let mut committed = app.punches.subscribe();
    let mut workdays = app.workdays.clone();
    let mut minute = tokio::time::interval_at(Instant::now() + REFRESH, REFRESH);
    let mut pending = true;
    loop {
        match accounts::recognise(&app.pool, &token).await {
            Ok(None) => return,
            Ok(Some(actor)) if pending => match tables(&app, &actor).await {
                Ok(events) => {
                    if !sent(&send, events).await {
                        return;
                    }
                    pending = false;
                }
                Err(error) => warn!(error = format!("{error:#}"), "cannot update the live page; retrying"),
            },
            Ok(Some(_)) => {}
            Err(error) => warn!(error = format!("{error:#}"), "cannot update the live page; retrying"),
        }
        tokio::time::sleep(PAUSE).await;
        pending |= tokio::select! {
            news = committed.recv() => !matches!(news, Err(RecvError::Closed)) || return,
            changed = workdays.changed() => changed.is_ok() || return,
            _ = minute.tick() => true,
            () = tokio::time::sleep(LOOK) => false,
            () = send.closed() => return,
        };
        while committed.try_recv().is_ok() {}
    }
}

/// `false`: nobody takes them any more.
async fn sent(send: &mpsc::Sender<Result<Event, Infallible>>, events: Vec<Event>) -> bool {
    for event in events {
        if send.send(Ok(event)).await.is_err() {
            return false;
        }
    }
    true
}

async fn tables(app: &App, actor: &Actor) -> Result<Vec<Event>> {
    let date = app.today();
    let mut conn = app.pool.acquire().await?;
    let period = timesheet::Period::of(date);
    let timesheet = timesheet::unaudited(&mut conn, period, actor.scope(), clock::now()).await?;
    let mut events = vec![Event::default().event("timesheet").data(Timesheet { timesheet }.render()?)];
    if actor.role.is_staff() {
        let mut punches = listing::unaudited(&mut conn, &app.zone, date).await?;
        punches.truncate(SHOWN);
        events.push(Event::default().event("punches").data(Punches { punches }.render()?));
    }
    Ok(events)
}
