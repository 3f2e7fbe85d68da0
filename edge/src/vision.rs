//! The vision thread: takes the latest frame, runs the models and passes on what it saw.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use models::{Departure, Frame, Gallery, Pipeline, Sighting};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{mpsc, watch};
use tracing::error;

use crate::clock::{Clock, Moment};
use crate::health::Health;

/// Holds one frame between camera and vision: the latest.
#[derive(Default)]
pub struct Slot {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    frame: Option<Frame>,
    closed: bool,
    /// A buffer to reuse.
    spare: Vec<u8>,
}

impl Slot {
    /// Puts a frame in, replacing one that was not taken.
    pub fn put(&self, frame: Frame) {
        let mut state = self.state.lock();
        if let Some(stale) = state.frame.replace(frame) {
            state.spare = stale.into_rgb();
        }
        self.filled.notify_one();
    }

    /// The buffer of an earlier frame, if there is one.
    pub fn spare(&self) -> Vec<u8> {
        std::mem::take(&mut self.state.lock().spare)
    }

    fn give_back(&self, frame: Frame) {
        self.state.lock().spare = frame.into_rgb();
    }

    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
    }

    /// Waits for a frame. `None`: closed.
    fn take(&self) -> Option<Frame> {
        let mut state = self.state.lock();
        loop {
            if let Some(frame) = state.frame.take() {
                return Some(frame);
            }
            if state.closed {
                return None;
            }
            self.filled.wait(&mut state);
        }
    }
}

/// What one frame showed.
pub struct Observation {
    /// Since the camera was opened.
    pub at: Duration,
    pub moment: Moment,
    pub sightings: Vec<Sighting>,
    pub departures: Vec<Departure>,
}

/// Runs until the slot is closed.
pub fn run(
    mut pipeline: Pipeline,
    slot: &Slot,
    gallery: &watch::Receiver<Arc<Gallery>>,
    seen: &mpsc::Sender<Observation>,
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
        send(seen, Observation { at: last, moment, sightings, departures: pipeline.departures() });
    }
    pipeline.finish();
    send(
        seen,
        Observation {
            at: last,
            moment: clock.now(),
            sightings: Vec::new(),
            departures: pipeline.departures(),
        },
    );
    Ok(())
}

fn send(seen: &mpsc::Sender<Observation>, observation: Observation) {
    if observation.sightings.is_empty() && observation.departures.is_empty() {
        return;
    }
    if let Err(mpsc::error::TrySendError::Full(observation)) = seen.try_send(observation) {
        error!("waiting for the outbox; nobody is recognised meanwhile");
        // Closed only when the daemon stops.
        let _ = seen.blocking_send(observation);
    }
}
