//! How the terminal is, for the heartbeat, the watchdog and whoever measures. Of strangers nothing is
//! kept but hourly numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::{Heartbeat, StrangerHour};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

/// Hours of stranger counts that a heartbeat carries: a network may be gone for days.
const HOURS: usize = 24 * 14;
/// A frame that takes longer, in milliseconds, comes too late: faces are lost from one to the next after a
/// second (`models::track`).
const SLOW_MS: u64 = 800;
/// A picture that was in view counts as there for so long: people pass before it.
const LINGERS: Duration = Duration::from_mins(2);
/// Characters of a fault that are told.
const FAULT: usize = 240;

/// What all parts tell of themselves.
pub struct Health {
    run: Uuid,
    started: Instant,
    system: String,
    frames: AtomicU64,
    /// Milliseconds that a frame takes, about.
    look_ms: AtomicU64,
    /// Other work than frames that goes on: a camera is opened again, a punch is tried again.
    attempts: AtomicU64,
    punches: AtomicU64,
    strangers: Mutex<BTreeMap<i64, u32>>,
    changed: Notify,
    punching: AtomicBool,
    connected: AtomicBool,
    camera: Mutex<Camera>,
    relay_lost: AtomicBool,
    /// Why there are no pins.
    no_pins: Mutex<Option<String>>,
    /// What is wrong with the terminal's certificate.
    certificate: Mutex<Option<String>>,
    /// When a picture of somebody was last in view.
    picture: Mutex<Option<Instant>>,
    has_relay: AtomicBool,
    tampered: AtomicBool,
    tampers: AtomicU32,
}

/// How the camera is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Camera {
    /// Whether frames come.
    pub up: bool,
    /// Why not, or why not before.
    pub fault: String,
    /// How often it failed.
    pub faults: u64,
    /// A recording that has ended: nothing is wrong, and nothing will come.
    pub ended: bool,
}

impl Health {
    /// Counts from zero.
    pub fn new(run: Uuid) -> Self {
        Self {
            run,
            started: Instant::now(),
            system: crate::machine::system(),
            frames: AtomicU64::new(0),
            look_ms: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            punches: AtomicU64::new(0),
            strangers: Mutex::default(),
            changed: Notify::new(),
            punching: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            camera: Mutex::default(),
            relay_lost: AtomicBool::new(false),
            no_pins: Mutex::new(None),
            certificate: Mutex::new(None),
            picture: Mutex::new(None),
            has_relay: AtomicBool::new(false),
            tampered: AtomicBool::new(false),
            tampers: AtomicU32::new(0),
        }
    }

    /// A frame was looked at, which took so long.
    pub fn frame(&self, took: Duration) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        let mean = self.look_ms.load(Ordering::Relaxed);
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).min(60_000);
        self.look_ms.store((mean * 7 + took) / 8, Ordering::Relaxed);
    }

    /// Something that is not well is being tried again.
    pub fn attempt(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// Rises as long as frames are looked at, or somebody works on what keeps them from it. A thread
    /// that hangs keeps it where it is.
    pub fn progress(&self) -> u64 {
        self.frames().wrapping_add(self.attempts.load(Ordering::Relaxed))
    }

    /// Frames that were looked at.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// A punch is on its way to the disk, or no more.
    pub fn punch(&self, punching: bool) {
        self.punching.store(punching, Ordering::Release);
    }

    /// Whether one is: then not all that was seen is in the outbox.
    pub fn punching(&self) -> bool {
        self.punching.load(Ordering::Acquire)
    }

    /// A punch is durable.
    pub fn durable(&self) {
        self.punches.fetch_add(1, Ordering::Relaxed);
    }

    /// Punches that were made durable in this run.
    pub fn punches(&self) -> u64 {
        self.punches.load(Ordering::Relaxed)
    }

    /// The hub is connected, or no more.
    pub fn connect(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Whether the hub is connected.
    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// A stranger left in the hour that began at `hour` (seconds since 1970).
    pub fn stranger(&self, hour: i64) {
        let mut strangers = held(&self.strangers);
        *strangers.entry(hour).or_default() += 1;
        while strangers.len() > HOURS {
            strangers.pop_first();
        }
        self.changed.notify_one();
    }

    /// The camera gives frames.
    pub fn camera_is_up(&self) {
        held(&self.camera).up = true;
        self.changed.notify_one();
    }

    /// The camera gives none. Each loss counts once, however often it is opened in vain.
    pub fn camera_is_lost(&self, fault: &str) {
        let mut camera = held(&self.camera);
        let fault: String = fault.chars().take(FAULT).collect();
        if camera.up || camera.faults == 0 {
            camera.faults += 1;
            self.changed.notify_one();
        }
        (camera.up, camera.fault) = (false, fault);
    }

    /// The recording that plays the camera has ended.
    pub fn camera_has_ended(&self) {
        let mut camera = held(&self.camera);
        (camera.up, camera.ended) = (false, true);
    }

    /// How the camera is.
    pub fn camera(&self) -> Camera {
        held(&self.camera).clone()
    }

    /// Whether there is a lock to open.
    pub fn relay(&self, there: bool) {
        self.has_relay.store(there, Ordering::Relaxed);
    }

    /// The door's pins can't be opened.
    pub fn pins_are_lost(&self, fault: &str) {
        *held(&self.no_pins) = Some(fault.chars().take(FAULT).collect());
    }

    /// What is wrong with the terminal's certificate, or that nothing is.
    pub fn certificate(&self, fault: Option<String>) {
        *held(&self.certificate) = fault;
    }

    /// A picture of somebody is in view.
    pub fn picture(&self) {
        *held(&self.picture) = Some(Instant::now());
    }

    /// Nobody holds the relay, or somebody does again.
    pub fn relay_is_lost(&self, lost: bool) {
        if self.relay_lost.swap(lost, Ordering::Relaxed) != lost {
            self.changed.notify_one();
        }
    }

    /// The case was opened, or closed.
    pub fn tampered(&self, open: bool) {
        self.tampered.store(open, Ordering::Relaxed);
        self.tampers.fetch_add(u32::from(open), Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// What is wrong that the counters know of, the shortest and most urgent first.
    pub fn alarms(&self) -> Vec<String> {
        let mut alarms = Vec::new();
        match (self.tampered.load(Ordering::Relaxed), self.tampers.load(Ordering::Relaxed)) {
            (true, _) => alarms.push("the terminal's case is open".into()),
            (false, 0) => {}
            // Somebody must look, whether or not anybody was connected then.
            (false, times) => alarms.push(format!("the terminal's case was opened ({times} in this run)")),
        }
        if self.relay_lost.load(Ordering::Relaxed) {
            alarms.push("nothing holds the door's relay".into());
        }
        alarms.extend(held(&self.no_pins).as_ref().map(|fault| format!("no lamps and no door: {fault}")));
        let camera = self.camera();
        if !camera.up && camera.faults > 0 {
            alarms.push(format!("no frames from the camera: {}", camera.fault));
        }
        alarms.extend(held(&self.certificate).clone());
        if held(&self.picture).is_some_and(|seen| seen.elapsed() < LINGERS) {
            alarms.push("a picture of somebody is in view: take it down, or turn the camera away".into());
        }
        let look_ms = self.look_ms.load(Ordering::Relaxed);
        if look_ms > SLOW_MS {
            alarms.push(format!("a frame takes {look_ms} ms: this machine is too slow to recognise anybody"));
        }
        alarms
    }

    /// Returns when there is something new to tell.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What the counters say; the rest is the caller's.
    pub fn heartbeat(&self) -> Heartbeat {
        let strangers = held(&self.strangers);
        let camera = self.camera();
        Heartbeat {
            version: proto::VERSION,
            software: env!("CARGO_PKG_VERSION").into(),
            run: self.run.as_bytes().to_vec(),
            system: self.system.clone(),
            up_s: self.started.elapsed().as_secs(),
            frames: self.frames(),
            strangers: strangers
                .iter()
                .map(|(hour, count)| StrangerHour { hour: *hour, count: *count })
                .collect(),
            camera: Some(proto::Camera { up: camera.up, fault: camera.fault, faults: camera.faults }),
            tampered: self.tampered.load(Ordering::Relaxed),
            tampers: self.tampers.load(Ordering::Relaxed),
            relay: self.has_relay.load(Ordering::Relaxed),
            ..Heartbeat::default()
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_counted_by_the_hour_and_old_hours_go() {
        let health = Health::new(Uuid::nil());
        for hour in 0..400 {
            health.stranger(hour * 3600);
        }
        health.stranger(399 * 3600);
        let beat = health.heartbeat();
        assert_eq!(beat.strangers.len(), HOURS);
        assert_eq!(beat.strangers.last().map(|h| h.count), Some(2));
    }

    #[test]
    fn a_camera_that_stays_away_is_one_fault() {
        let health = Health::new(Uuid::nil());
        health.camera_is_lost("cannot open /dev/video0");
        assert_eq!(health.alarms(), ["no frames from the camera: cannot open /dev/video0"]);
        health.camera_is_up();
        assert!(health.alarms().is_empty());
        for _ in 0..9 {
            health.camera_is_lost("unplugged");
        }
        let camera = health.heartbeat().camera.expect("a camera");
        assert_eq!((camera.up, camera.fault.as_str(), camera.faults), (false, "unplugged", 2));
    }

    #[test]
    fn a_case_that_was_opened_stays_an_alarm_when_it_is_closed() {
        let health = Health::new(Uuid::nil());
        health.tampered(true);
        assert_eq!(health.alarms(), ["the terminal's case is open"]);
        health.tampered(false);
        assert_eq!(health.alarms(), ["the terminal's case was opened (1 in this run)"]);
    }

    #[test]
    fn a_picture_in_view_is_an_alarm_until_it_is_taken_down() {
        let health = Health::new(Uuid::nil());
        let seen_before = |time| *held(&health.picture) = Some(Instant::now() - time);
        health.picture();
        seen_before(Duration::from_secs(90));
        assert!(health.alarms()[0].contains("a picture of somebody is in view"), "{:?}", health.alarms());
        seen_before(Duration::from_mins(3));
        assert!(health.alarms().is_empty());
    }

    #[test]
    fn a_machine_that_is_too_slow_says_so() {
        let health = Health::new(Uuid::nil());
        health.frame(Duration::from_secs(3));
        assert!(health.alarms().is_empty(), "one slow frame is none");
        for _ in 0..30 {
            health.frame(Duration::from_secs(3));
        }
        assert!(health.alarms()[0].contains("too slow"), "{:?}", health.alarms());
    }

    #[test]
    fn frames_and_attempts_are_progress() {
        let health = Health::new(Uuid::nil());
        let before = health.progress();
        health.frame(Duration::from_millis(5));
        health.attempt();
        assert_eq!(health.progress() - before, 2);
    }
}
