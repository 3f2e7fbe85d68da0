use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use tokio::task::JoinSet;
use uuid::Uuid;

use crate::config::Pin;
use crate::door::*;

type Seen = Arc<Mutex<Vec<(Line, bool)>>>;

struct Record(Seen);
impl Lines for Record {
    fn set(&mut self, line: Line, on: bool) {
        self.0.lock().expect("no panic").push((line, on));
    }
}

fn punched() -> Signal {
    Signal::Punched { present: true }
}

struct Bench {
    seen: Seen,
    send: mpsc::Sender<Signal>,
    running: JoinSet<Result<()>>,
    health: Arc<Health>,
}

impl Bench {
    fn start(prepare: impl FnOnce(&mut Door)) -> Self {
        let seen = Seen::default();
        let health = Arc::new(Health::new(Uuid::nil()));
        let mut door = Door::on(Box::new(Record(seen.clone())), health.clone());
        prepare(&mut door);
        let (send, receive) = mpsc::channel(4);
        let mut running = JoinSet::new();
        running.spawn(door.run(receive, CancellationToken::new()));
        Self { seen, send, running, health }
    }

    async fn send(&self, signal: Signal) {
        self.send.send(signal).await.expect("door runs");
    }

    fn seen(&self) -> Vec<(Line, bool)> {
        self.seen.lock().expect("no panic").clone()
    }

    async fn end(self) -> Vec<(Line, bool)> {
        drop(self.send);
        self.running.join_all().await;
        let seen = self.seen.lock().expect("no panic");
        seen.clone()
    }
}

#[tokio::test]
async fn a_punch_is_a_pulse_and_red_stays_until_all_faults_are_cleared() {
    let bench = Bench::start(|_| {});
    for signal in [Signal::Failed(Fault::Outbox), Signal::Failed(Fault::Camera), punched()] {
        bench.send(signal).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(bench.seen().contains(&(Line::Buzzer, false)), "its pulse is over");
    for fault in [Fault::Outbox, Fault::Camera] {
        assert!(bench.seen().last() != Some(&(Line::Red, false)));
        bench.send(Signal::Cleared(fault)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let seen = bench.end().await;
    let on_off = |line| seen.iter().filter(|(l, _)| *l == line).map(|(_, on)| *on).collect::<Vec<_>>();
    for line in [Line::Green, Line::Buzzer, Line::Red] {
        assert_eq!(on_off(line).first_chunk(), Some(&[true, false]), "{line:?}");
    }
}

#[tokio::test]
async fn a_request_to_turn_the_head_blinks_green() {
    let seen = Seen::default();
    let mut door = Door::on(Box::new(Record(seen.clone())), Arc::new(Health::new(Uuid::nil())));
    for on in [true, false, true, false, true] {
        door.show(Signal::TurnHead).await;
        door.show(Signal::TurnHead).await;
        assert_eq!(seen.lock().expect("no panic").last(), Some(&(Line::Green, on)));
        pass(&mut door, BLINK).await;
    }
    door.show(punched()).await;
    seen.lock().expect("no panic").clear();
    for _ in 0..4 {
        pass(&mut door, BLINK).await;
        door.show(Signal::TurnHead).await;
    }
    let green = (Line::Green, false);
    assert!(!seen.lock().expect("no panic").contains(&green), "lit for a second");
    pass(&mut door, BLINK).await;
    assert_eq!(seen.lock().expect("no panic").last(), Some(&green));
}

/// Lets time pass.
async fn pass(door: &mut Door, time: Duration) {
    door.until.values_mut().chain(&mut door.blink).for_each(|at| *at -= time);
    door.expire().await;
}

/// A guard that records what it is asked.
struct FakeGuard {
    folder: tempfile::TempDir,
}

impl FakeGuard {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let script = format!(
            "#!/bin/sh\nread relay; echo \"start $$\" >> {0}\necho shut\n\
            while read ms; do case $ms in status) echo shut;; *) echo \"open $ms\" >> {0}; echo open;; esac; done\n\
            echo off >> {0}\n",
            folder.path().join("notes").display()
        );
        let file = folder.path().join("guard");
        std::fs::write(&file, script).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("allowed");
        Self { folder }
    }

    async fn guard(&self) -> Guard {
        let gpio = Gpio { relay: Some(Pin::Number(3)), ..Gpio::default() };
        let relay = Relay::of(&gpio, Backend::Gpiocdev).expect("a relay");
        // A child that another test has just forked may hold the script open for a moment.
        for _ in 0..50 {
            if let Ok(guard) = Guard::start(&self.folder.path().join("guard"), relay.clone()).await {
                return guard;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the guard does not start")
    }

    fn notes(&self) -> Vec<String> {
        let notes = std::fs::read_to_string(self.folder.path().join("notes")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    async fn wait_for(&self, count: usize) -> Vec<String> {
        for _ in 0..500 {
            if self.notes().len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.notes()
    }
}

#[tokio::test]
async fn a_punch_opens_only_a_door_that_is_configured_so_and_the_guard_ends() {
    for opens in [false, true] {
        let fake = FakeGuard::new();
        let guard = fake.guard().await;
        let bench = Bench::start(|door| {
            (door.relay, door.punches_open) = (Some(guard), opens);
            door.open = Duration::from_secs(3);
        });
        bench.send(Signal::Punched { present: false }).await; // they have gone meanwhile
        bench.send(punched()).await;
        bench.send(Signal::Open).await;
        bench.end().await;
        let notes = fake.notes();
        let told: Vec<&str> = notes[1..].iter().map(String::as_str).collect();
        let expected = if opens { vec!["open 3000", "open 3000", "off"] } else { vec!["open 3000", "off"] };
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn a_guard_that_is_killed_is_replaced() {
    let fake = FakeGuard::new();
    let guard = fake.guard().await;
    let bench = Bench::start(|door| door.relay = Some(guard));
    let killed = fake.wait_for(1).await[0].trim_start_matches("start ").to_owned();
    let status = std::process::Command::new("kill").args(["-9", &killed]).status().expect("kill");
    assert!(status.success());
    let notes = fake.wait_for(2).await;
    assert!(notes[1].starts_with("start ") && notes[1] != notes[0], "{notes:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.send(Signal::Open).await;
    let health = bench.health.clone();
    let seen = bench.end().await;
    assert!(fake.notes()[2].starts_with("open "), "{:?}", fake.notes());
    assert_eq!(seen, [(Line::Red, true), (Line::Red, false)]);
    assert_eq!(health.alarms(), Vec::<String>::new());
}

#[tokio::test]
async fn a_guard_that_is_stopped_while_the_door_is_open_is_replaced() {
    let fake = FakeGuard::new();
    let guard = fake.guard().await;
    let bench = Bench::start(|door| {
        door.relay = Some(guard);
        door.open = Duration::from_millis(100);
    });
    bench.send(Signal::Open).await;
    let notes = fake.wait_for(2).await;
    assert_eq!(notes[1], "open 100");
    tokio::time::sleep(Duration::from_millis(50)).await; // it has answered
    let process = notes[0].trim_start_matches("start ");
    let status = std::process::Command::new("kill").args(["-STOP", process]).status().expect("kill");
    assert!(status.success());
    let notes = fake.wait_for(3).await;
    assert!(notes[2].starts_with("start ") && notes[2] != notes[0], "{notes:?}");
    assert!(!std::path::Path::new("/proc").join(process).exists(), "the stopped one is still there");
    bench.end().await;
}

#[tokio::test]
async fn a_guard_that_cant_hold_the_relay_is_an_error() {
    let gpio = Gpio { relay: Some(Pin::Number(3)), ..Gpio::default() };
    let relay = Relay::of(&gpio, Backend::Gpiocdev).expect("a relay");
    let error = Guard::start(std::path::Path::new("/bin/false"), relay).await.err().expect("no guard");
    assert!(format!("{error:#}").contains("guard"), "{error:#}");
}
