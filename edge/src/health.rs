//! Counters and faults of the terminal, for heartbeat, watchdog and metrics. Of unknown faces only hourly counts are
//! kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proto::{Heartbeat, UnknownFaceHour};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

/// Hours of unknown faces that a heartbeat carries: the network may be gone for days.
const HOURS: usize = 24 * 14;
/// A frame that takes longer, in milliseconds, is too slow: tracks end after a second (`models::track`).
const SLOW_MS: u64 = 800;
/// How long the alarm stays after a still face was last seen: people pass before it.
const STILL_FACE_ALARM: Duration = Duration::from_mins(2);
/// Characters of a fault that are reported.
const FAULT: usize = 240;

pub struct Health {
    run: Uuid,
    started: Instant,
    system: String,
    frames: AtomicU64,
    /// Mean milliseconds a frame.
    frame_ms: AtomicU64,
    /// Retries: of the camera, or of a punch.
    attempts: AtomicU64,
    punches: AtomicU64,
    unknown_faces: Mutex<BTreeMap<i64, u32>>,
    changed: Notify,
    punching: AtomicBool,
    connected: AtomicBool,
    camera: Mutex<Camera>,
    relay_lost: AtomicBool,
    no_pins: Mutex<Option<String>>,
    certificate: Mutex<Option<String>>,
    /// When a still face was last in view.
    still_face: Mutex<Option<Instant>>,
    has_relay: AtomicBool,
    tampered: AtomicBool,
    tampers: AtomicU32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Camera {
    pub up: bool,
    /// The last fault.
    pub fault: String,
    pub faults: u64,
    /// A recording has ended, which is no fault.
    pub ended: bool,
}

impl Health {
    pub fn new(run: Uuid) -> Self {
        Self {
            run,
            started: Instant::now(),
            system: crate::machine::system(),
            frames: AtomicU64::new(0),
            frame_ms: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            punches: AtomicU64::new(0),
            unknown_faces: Mutex::default(),
            changed: Notify::new(),
            punching: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            camera: Mutex::default(),
            relay_lost: AtomicBool::new(false),
            no_pins: Mutex::new(None),
            certificate: Mutex::new(None),
            still_face: Mutex::new(None),
            has_relay: AtomicBool::new(false),
            tampered: AtomicBool::new(false),
            tampers: AtomicU32::new(0),
        }
    }

    pub fn frame(&self, took: Duration) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        let mean = self.frame_ms.load(Ordering::Relaxed);
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).min(60_000);
        self.frame_ms.store((mean * 7 + took) / 8, Ordering::Relaxed);
    }

    pub fn attempt(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// Rises with every frame and every retry; a thread that hangs stops it.
    pub fn progress(&self) -> u64 {
        self.frames().wrapping_add(self.attempts.load(Ordering::Relaxed))
    }

    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub fn set_punching(&self, punching: bool) {
        self.punching.store(punching, Ordering::Release);
    }

    /// Whether a punch is being written: then the outbox lacks it.
    pub fn punching(&self) -> bool {
        self.punching.load(Ordering::Acquire)
    }

    pub fn punched(&self) {
        self.punches.fetch_add(1, Ordering::Relaxed);
    }

    /// Punches made durable in this run.
    pub fn punches(&self) -> u64 {
        self.punches.load(Ordering::Relaxed)
    }

    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Counts an unknown face in the hour that began at `hour` (seconds since 1970).
    pub fn unknown_face(&self, hour: i64) {
        let mut unknown_faces = self.unknown_faces.lock();
        *unknown_faces.entry(hour).or_default() += 1;
        while unknown_faces.len() > HOURS {
            unknown_faces.pop_first();
        }
        self.changed.notify_one();
    }

    pub fn camera_up(&self) {
        self.camera.lock().up = true;
        self.changed.notify_one();
    }

    /// Each loss counts once, however often reopening fails.
    pub fn camera_lost(&self, fault: &str) {
        let mut camera = self.camera.lock();
        let fault: String = fault.chars().take(FAULT).collect();
        if camera.up || camera.faults == 0 {
            camera.faults += 1;
            self.changed.notify_one();
        }
        (camera.up, camera.fault) = (false, fault);
    }

    pub fn recording_ended(&self) {
        let mut camera = self.camera.lock();
        (camera.up, camera.ended) = (false, true);
    }

    pub fn camera(&self) -> Camera {
        self.camera.lock().clone()
    }

    pub fn set_relay(&self, there: bool) {
        self.has_relay.store(there, Ordering::Relaxed);
    }

    pub fn pins_failed(&self, fault: &str) {
        *self.no_pins.lock() = Some(fault.chars().take(FAULT).collect());
    }

    /// What is wrong with the terminal's certificate, if anything.
    pub fn set_certificate_fault(&self, fault: Option<String>) {
        *self.certificate.lock() = fault;
    }

    pub fn still_face(&self) {
        *self.still_face.lock() = Some(Instant::now());
    }

    pub fn set_relay_lost(&self, lost: bool) {
        if self.relay_lost.swap(lost, Ordering::Relaxed) != lost {
            self.changed.notify_one();
        }
    }

    pub fn set_tampered(&self, open: bool) {
        self.tampered.store(open, Ordering::Relaxed);
        self.tampers.fetch_add(u32::from(open), Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// The alarms, the most urgent first.
    pub fn alarms(&self) -> Vec<String> {
        let mut alarms = Vec::new();
        match (self.tampered.load(Ordering::Relaxed), self.tampers.load(Ordering::Relaxed)) {
            (true, _) => alarms.push("the terminal's case is open".into()),
            (false, 0) => {}
            // Somebody must look, also if the hub was not connected then.
            (false, times) => alarms.push(format!("the terminal's case was opened ({times} in this run)")),
        }
        if self.relay_lost.load(Ordering::Relaxed) {
            alarms.push("the process that holds the door's relay is gone; see the terminal's log".into());
        }
        alarms.extend(
            self.no_pins.lock().as_ref().map(|fault| format!("cannot open the pins of [door]: {fault}")),
        );
        let camera = self.camera();
        if !camera.up && camera.faults > 0 {
            alarms.push(format!("no frames from the camera: {}", camera.fault));
        }
        alarms.extend(self.certificate.lock().clone());
        if self.still_face.lock().is_some_and(|seen| seen.elapsed() < STILL_FACE_ALARM) {
            alarms.push("a still picture of a face is in view: take it down, or turn the camera away".into());
        }
        let frame_ms = self.frame_ms.load(Ordering::Relaxed);
        if frame_ms > SLOW_MS {
            alarms.push(format!("a frame takes {frame_ms} ms: this machine is too slow for recognition"));
        }
        alarms
    }

    /// Returns when there is something new to report.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The counters' part of a heartbeat.
    pub fn heartbeat(&self) -> Heartbeat {
        let unknown_faces = self.unknown_faces.lock();
        let camera = self.camera();
        Heartbeat {
            version: proto::VERSION,
            software: env!("CARGO_PKG_VERSION").into(),
            run: self.run.as_bytes().to_vec(),
            system: self.system.clone(),
            up_s: self.started.elapsed().as_secs(),
            frames: self.frames(),
            unknown_faces: unknown_faces
                .iter()
                .map(|(hour, count)| UnknownFaceHour { hour: *hour, count: *count })
                .collect(),
            camera: Some(proto::Camera { up: camera.up, fault: camera.fault, faults: camera.faults }),
            tampered: self.tampered.load(Ordering::Relaxed),
            tampers: self.tampers.load(Ordering::Relaxed),
            relay: self.has_relay.load(Ordering::Relaxed),
            ..Heartbeat::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_faces_are_counted_by_the_hour_and_old_hours_go() {
        let health = Health::new(Uuid::nil());
        for hour in 0..400 {
            health.unknown_face(hour * 3600);
        }
        health.unknown_face(399 * 3600);
        let beat = health.heartbeat();
        assert_eq!(beat.unknown_faces.len(), HOURS);
        assert_eq!(beat.unknown_faces.last().map(|h| h.count), Some(2));
    }

    #[test]
    fn a_camera_that_stays_away_is_one_fault() {
        let health = Health::new(Uuid::nil());
        health.camera_lost("cannot open /dev/video0");
        assert_eq!(health.alarms(), ["no frames from the camera: cannot open /dev/video0"]);
        health.camera_up();
        assert!(health.alarms().is_empty());
        for _ in 0..9 {
            health.camera_lost("unplugged");
        }
        let camera = health.heartbeat().camera.expect("a camera");
        assert_eq!((camera.up, camera.fault.as_str(), camera.faults), (false, "unplugged", 2));
    }

    #[test]
    fn a_case_that_was_opened_stays_an_alarm_when_it_is_closed() {
        let health = Health::new(Uuid::nil());
        health.set_tampered(true);
        assert_eq!(health.alarms(), ["the terminal's case is open"]);
        health.set_tampered(false);
        assert_eq!(health.alarms(), ["the terminal's case was opened (1 in this run)"]);
    }

    #[test]
    fn a_still_face_in_view_is_an_alarm_until_it_is_taken_down() {
        let health = Health::new(Uuid::nil());
        let seen_before = |time| *health.still_face.lock() = Some(Instant::now() - time);
        health.still_face();
        seen_before(Duration::from_secs(90));
        assert!(health.alarms()[0].contains("a still picture of a face is in view"), "{:?}", health.alarms());
        seen_before(Duration::from_mins(3));
        assert!(health.alarms().is_empty());
    }

    #[test]
    fn a_machine_that_is_too_slow_says_so() {
        let health = Health::new(Uuid::nil());
        health.frame(Duration::from_secs(3));
        assert!(health.alarms().is_empty(), "one slow frame is no alarm");
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
