//! The thread that looks: takes the latest frame, observes it and passes on what it saw.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use models::{Departure, Frame, Gallery, Pipeline, Sighting};
use tokio::sync::{mpsc, watch};
use tracing::error;

use crate::clock::{Clock, Moment};
use crate::health::Health;

/// One frame between camera and vision. The latest wins: a stale face is worthless.
#[derive(Default)]
pub struct Slot {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    frame: Option<Frame>,
    closed: bool,
    /// The memory of a frame that was looked at, or that nobody took.
    spare: Vec<u8>,
}

impl Slot {
    /// Puts a frame in, over one that nobody took.
    pub fn put(&self, frame: Frame) {
        let mut state = self.lock();
        if let Some(stale) = state.frame.replace(frame) {
            state.spare = stale.into_rgb();
        }
        self.filled.notify_one();
    }

    /// Memory for the next frame: that of an earlier one, if there is any.
    pub fn spare(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().spare)
    }

    /// Takes back a frame that was looked at.
    fn give_back(&self, frame: Frame) {
        self.lock().spare = frame.into_rgb();
    }

    /// There will be no more frames.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Waits for a frame. `None`: closed.
    fn take(&self) -> Option<Frame> {
        let mut state = self.lock();
        loop {
            if let Some(frame) = state.frame.take() {
                return Some(frame);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one frame showed.
pub struct Seen {
    /// When, since the camera was opened.
    pub at: Duration,
    /// When, by the terminal's clocks.
    pub moment: Moment,
    /// Faces in view.
    pub sightings: Vec<Sighting>,
    /// Faces that left.
    pub departures: Vec<Departure>,
}

/// Looks at frames until the slot is closed.
pub fn run(
    mut pipeline: Pipeline,
    slot: &Slot,
    gallery: &watch::Receiver<Arc<Gallery>>,
    seen: &mpsc::Sender<Seen>,
    health: &Health,
    clock: &Clock,
) -> Result<()> {
    let mut last = Duration::ZERO;
    while let Some(frame) = slot.take() {
        let moment = clock.now();
        let people = gallery.borrow().clone();
        let began = Instant::now();
        let sightings = pipeline.observe(&frame, &people)?.to_vec();
        last = frame.at;
        slot.give_back(frame);
        health.frame(began.elapsed());
        tell(seen, Seen { at: last, moment, sightings, departures: pipeline.departures() });
    }
    pipeline.finish();
    tell(
        seen,
        Seen { at: last, moment: clock.now(), sightings: Vec::new(), departures: pipeline.departures() },
    );
    Ok(())
}

fn tell(seen: &mpsc::Sender<Seen>, what: Seen) {
    if what.sightings.is_empty() && what.departures.is_empty() {
        return;
    }
    if let Err(mpsc::error::TrySendError::Full(what)) = seen.try_send(what) {
        error!("punches wait for the outbox: nobody is recognised meanwhile");
        // Closed only when the daemon stops.
        let _ = seen.blocking_send(what);
    }
}
