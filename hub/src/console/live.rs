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
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use crate::api::ApiError;
use crate::app::App;
use crate::clock;
use crate::console::{SHOWN, Visitor};
use crate::identity::Actor;
use crate::reports::{punches, timesheet};
use crate::store;

/// Between two updates, however many punches there are.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two updates, at most: what is expected becomes an absence without anything having happened.
const STALE: Duration = Duration::from_mins(1);
/// The browser connects again after this, and its session is looked at again.
const LONGEST: Duration = Duration::from_mins(10);

#[derive(Template)]
#[template(path = "punches.html")]
struct Punches {
    punches: Vec<punches::Row>,
}

#[derive(Template)]
#[template(path = "timesheet.html")]
struct Timesheet {
    timesheet: Vec<timesheet::Row>,
}

/// The stream of one browser.
pub async fn live(
    State(app): State<App>,
    Visitor(actor): Visitor,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let mut conn = app.pool.acquire().await.map_err(anyhow::Error::from)?;
    let audited = store::audit::record(&mut conn, &actor.name, "report.live", "today", json!({})).await;
    audited.map_err(anyhow::Error::from)?;
    drop(conn);
    let (send, receive) = mpsc::channel(4);
    // Ends with its browser, with the hub, or after ten minutes: nobody has to wait for it.
    #[expect(clippy::disallowed_methods, reason = "bound to this connection, see above")]
    tokio::spawn(async move {
        let stop = app.stop.clone();
        tokio::select! {
            () = feed(app, actor, send) => {}
            () = tokio::time::sleep(LONGEST) => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(Sse::new(ReceiverStream::new(receive)).keep_alive(KeepAlive::default()))
}

async fn feed(app: App, actor: Actor, send: mpsc::Sender<Result<Event, Infallible>>) {
    let mut committed = app.punches.subscribe();
    let mut workdays = app.workdays.clone();
    loop {
        match tables(&app, &actor).await {
            Ok(events) => {
                for event in events {
                    if send.send(Ok(event)).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => warn!(error = format!("{error:#}"), "the live page waits"),
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            news = committed.recv() => if let Err(RecvError::Closed) = news { return },
            changed = workdays.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(STALE) => {}
            () = send.closed() => return,
        }
        while committed.try_recv().is_ok() {}
    }
}

async fn tables(app: &App, actor: &Actor) -> Result<Vec<Event>> {
    let date = app.today();
    let mut conn = app.pool.acquire().await?;
    let period = timesheet::Period::of(date);
    let timesheet = timesheet::unaudited(&mut conn, period, actor.scope(), clock::now()).await?;
    let mut events = vec![Event::default().event("timesheet").data(Timesheet { timesheet }.render()?)];
    if actor.role.is_staff() {
        let mut punches = punches::unaudited(&mut conn, &app.zone, date).await?;
        punches.truncate(SHOWN);
        events.push(Event::default().event("punches").data(Punches { punches }.render()?));
    }
    Ok(events)
}
