//! The terminal's watchdog, health, metrics, commands, `doctor` and `observe`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::api::{Api, expect_status};
use tests::dir::{TestDir, free_port};
use tests::eventually;
use tests::hub::Hub;
use tests::terminal::{Terminal, Walk};
use tests::{photo, program, run};

const WALK: Walk<'_> = Walk { photos: &[("obama3.jpg", false)], rate: 15, rearm_s: 0, for_ever: true };

fn reconfigure(terminal: &Terminal, change: impl FnOnce(String) -> String) -> Result<()> {
    let text = std::fs::read_to_string(&terminal.config)?;
    Ok(std::fs::write(&terminal.config, change(text))?)
}

fn set_camera(terminal: &Terminal, camera: &str) -> Result<()> {
    reconfigure(terminal, |text| {
        let before = text.split("[camera]").next().unwrap_or_default().to_owned();
        format!("{before}[camera]\n{camera}\n")
    })
}

/// systemd's side of `sd_notify`.
struct Manager(UnixDatagram);

impl Manager {
    fn bind(dir: &TestDir, terminal: &mut Terminal, watchdog: Duration) -> Result<Self> {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        terminal.environment = vec![
            ("NOTIFY_SOCKET".into(), path.display().to_string()),
            ("WATCHDOG_USEC".into(), watchdog.as_micros().to_string()),
        ];
        Ok(Self(socket))
    }

    /// The messages received within some time.
    fn listen(&self, time: Duration) -> String {
        let (end, mut said) = (Instant::now() + time, String::new());
        let mut buffer = [0; 4096];
        while Instant::now() < end {
            if let Ok(length) = self.0.recv(&mut buffer) {
                said += &String::from_utf8_lossy(&buffer[..length]);
            }
        }
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_notified_only_while_frames_advance() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let mut terminal = Terminal::new(&dir, &hub, &WALK)?;
    let frames = dir.join("frames");
    std::fs::create_dir(&frames)?;
    for name in ["a.jpg", "b.jpg"] {
        std::fs::copy(photo("biden.jpg")?, frames.join(name))?;
    }
    set_camera(&terminal, &format!("kind = \"replay\"\nfolder = {frames:?}\nrepeat = true"))?;
    let manager = Manager::bind(&dir, &mut terminal, Duration::from_secs(2))?;
    terminal.start()?;
    let mut said = String::new();
    for _ in 0..60 {
        said += &manager.listen(Duration::from_secs(1));
        if ["READY=1", "WATCHDOG=1", "frames, connected"].iter().all(|word| said.contains(word)) {
            break;
        }
    }
    ensure!(said.contains("READY=1") && said.contains("WATCHDOG=1"), "{said} {}", terminal.logged());
    ensure!(said.contains("frames, connected"), "{said}");
    // Opening a pipe without a writer blocks, as a driver can.
    let made = run("/usr/bin/mkfifo".as_ref(), &[frames.join("b.new").to_str().context("a path")?])?;
    ensure!(made.status.success());
    std::fs::rename(frames.join("b.new"), frames.join("b.jpg"))?;
    manager.listen(Duration::from_secs(2));
    let said = manager.listen(Duration::from_secs(3));
    ensure!(
        said.contains("STATUS=") && !said.contains("WATCHDOG=1"),
        "fed although the camera hangs: {said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_camera_is_in_the_heartbeat_and_does_not_restart_the_daemon() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.account("root", "admin", None)?;
    let admin = Api::login(&hub, "root").await?;
    let mut terminal = Terminal::new(&dir, &hub, &WALK)?;
    set_camera(&terminal, "kind = \"v4l2\"\ndevice = \"/dev/rollcall-none\"")?;
    let manager = Manager::bind(&dir, &mut terminal, Duration::from_secs(8))?;
    terminal.start()?;
    let health = eventually("the fault", async || {
        let row = admin.list("/terminals").await?.first().cloned().context("a terminal")?;
        let alarm = row["alarm"].as_str().unwrap_or_default();
        ensure!(alarm.contains("no frames from the camera: cannot open /dev/rollcall-none"), "{row}");
        Ok(row["health"].clone())
    })
    .await?;
    ensure!(health["camera"]["up"] == json!(false) && health["camera"]["faults"] == json!(1), "{health}");
    ensure!(health["system"].as_str().is_some_and(|system| system.contains("Linux")), "{health}");
    ensure!(health["free_mb"].as_u64() > Some(0) && health["synchronised"] == json!(true), "{health}");
    ensure!(manager.listen(Duration::from_secs(6)).contains("WATCHDOG=1"), "restarted for a lost camera");
    ensure!(terminal.runs()?);
    ensure!(hub.must(&["terminal", "list"])?.contains("no frames from the camera"));
    Ok(())
}

/// Whether a process runs with this file in its command line.
fn runs_with(file: &Path) -> Result<bool> {
    let file = file.to_str().context("a path")?;
    let commands = std::fs::read_dir("/proc")?.flatten().map(|process| process.path().join("cmdline"));
    let mut commands = commands.filter_map(|command| std::fs::read(command).ok());
    Ok(commands.any(|command| String::from_utf8_lossy(&command).contains(file)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_program_is_restarted_and_ends_with_the_terminal() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    let mut terminal = Terminal::new(&dir, &hub, &WALK)?;
    let frame = dir.join("frame.jpg");
    std::fs::copy(photo("obama3.jpg")?, &frame)?;
    let script = "for n in $(seq 50); do cat \"$1\"; sleep 0.1; done; \
        echo 'ERROR: no answer from rtsp://admin:hunter2@192.0.2.9/live' >&2; exit 3";
    set_camera(
        &terminal,
        &format!("kind = \"program\"\ncommand = [\"sh\", \"-c\", {script:?}, \"camera\", {frame:?}]"),
    )?;
    terminal.start()?;
    eventually("punches and the program's end", async || {
        ensure!(!terminal.durable().is_empty(), "{}", terminal.logged());
        let ended = "sh ended (exit status: 3): ERROR: no answer from rtsp://***@192.0.2.9/...";
        ensure!(terminal.logged().contains(ended), "{}", terminal.logged());
        Ok(())
    })
    .await?;
    let before = terminal.durable().len();
    eventually("more punches", async || {
        ensure!(terminal.durable().len() > before, "{}", terminal.logged());
        Ok(())
    })
    .await?;
    ensure!(!terminal.logged().contains("hunter2"), "a password is in the log");
    ensure!(runs_with(&frame)?);
    terminal.kill()?;
    eventually("the program to end", async || {
        ensure!(!runs_with(&frame)?, "it outlives the terminal");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_pins_raise_an_alarm_and_stop_no_punch() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    let mut terminal = Terminal::new(&dir, &hub, &WALK)?;
    reconfigure(&terminal, |text| {
        format!(
            "{text}[door]\nkind = \"gpio\"\nbackend = \"gpiocdev\"\nchip = \"/dev/rollcall-none\"\nrelay = 3\n"
        )
    })?;
    terminal.start()?;
    eventually("punches and the alarm", async || {
        ensure!(!terminal.durable().is_empty(), "{}", terminal.logged());
        let list = hub.must(&["terminal", "list"])?;
        ensure!(
            list.contains("cannot open the pins of [door]") && list.contains("/dev/rollcall-none"),
            "{list}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_command_runs_once_and_an_open_command_needs_a_lock() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    hub.account("root", "admin", None)?;
    let admin = Api::login(&hub, "root").await?;
    let mut terminal = Terminal::new(&dir, &hub, &WALK)?;
    terminal.start()?;
    let run_of = async || {
        let row = admin.list("/terminals").await?.first().cloned().context("a terminal")?;
        row["health"]["run"].as_str().map(str::to_owned).context("no heartbeat yet")
    };
    let first = eventually("a heartbeat", run_of).await?;
    let process = terminal.process()?;
    let commands = format!("/terminals/{}/commands", terminal.device);
    expect_status(409, admin.post(&commands, &json!({"kind": "open"})).await?)?;
    expect_status(202, admin.post(&commands, &json!({"kind": "restart"})).await?)?;
    let second = eventually("another run", async || {
        let run = run_of().await?;
        ensure!(run != first, "{}", terminal.logged());
        Ok(run)
    })
    .await?;
    ensure!(terminal.runs()? && terminal.process()? == process, "it did not start again in place");
    eventually("done", async || {
        ensure!(hub.cluster().number("select count(*) from commands where done_at is not null").await? == 1);
        Ok(())
    })
    .await?;
    // Delivered again, the command is answered as done and not repeated.
    hub.cluster().execute("update commands set done_at = null").await?;
    hub.must(&["terminal", "command", &terminal.device, "identify"])?;
    eventually("done, both", async || {
        ensure!(hub.cluster().number("select count(*) from commands where done_at is not null").await? == 2);
        Ok(())
    })
    .await?;
    ensure!(run_of().await? == second, "a command was carried out twice: {}", terminal.logged());
    let before = terminal.durable().len();
    eventually("punches after it", async || {
        ensure!(terminal.durable().len() > before, "{}", terminal.logged());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_on_loopback_and_logs_can_be_json() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    let mut terminal = Terminal::new(&dir, &hub, &WALK)?;
    let port = free_port()?;
    reconfigure(&terminal, |text| format!("{text}[metrics]\nlisten = \"127.0.0.1:{port}\"\n"))?;
    terminal.environment.push(("ROLLCALL_LOG".into(), "json".into()));
    terminal.start()?;
    let value = async |name: &str| -> Result<f64> {
        let _ = rustls::crypto::ring::default_provider().install_default(); // reqwest needs one, even for HTTP
        let text = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {name} in {text}"))?.parse()?)
    };
    eventually("a delivered punch in the metrics", async || {
        ensure!(value("rollcall_punches_total").await? > 0.0 && value("rollcall_connected").await? > 0.5);
        ensure!(value("rollcall_camera_up").await? > 0.5 && value("rollcall_frames_total").await? > 10.0);
        ensure!(value("rollcall_queued_punches").await? < 50.0 && value("rollcall_alarms").await? < 0.5);
        ensure!(value("rollcall_disk_free_bytes").await? > 1e6);
        value("rollcall_clock_synchronised").await.map(drop)
    })
    .await?;
    let log = terminal.logged();
    let lines = log.lines().filter(|line| !line.starts_with("INFO: ")); // LiteRT's own
    let lines = lines.map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    ensure!(lines.iter().any(|line| line["punch.id"].is_string() && line["level"] == json!("INFO")));
    Ok(())
}

fn doctor(terminal: &Terminal) -> Result<(Output, Vec<Value>)> {
    let mut command = Command::new(program("rollcall-edge")?);
    let output = command.args(["doctor", "--json", "--config"]).arg(&terminal.config).output()?;
    let text = String::from_utf8(output.stdout.clone())?;
    let findings = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((output, findings))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_reports_problems_and_remedies() -> Result<()> {
    let dir = TestDir::new()?;
    let mut hub = Hub::start_new(&dir)?;
    let mut terminal = Terminal::new(&dir, &hub, &WALK)?;
    let finding = |findings: &[Value], check: &str| -> Result<(String, String)> {
        let found = findings.iter().find(|finding| finding["check"] == json!(check));
        let found = found.with_context(|| format!("nothing about {check}: {findings:?}"))?;
        Ok((found["state"].as_str().unwrap_or_default().into(), found.to_string()))
    };
    let (state, text) = finding(&doctor(&terminal)?.1, "hub")?;
    ensure!(state == "ok" && text.contains("accepts this terminal\""), "{text}");
    let good = std::fs::read_to_string(&terminal.config)?;
    reconfigure(&terminal, |text| text.replace(&hub.mqtt.port().to_string(), &hub.https.port().to_string()))?;
    let (state, text) = finding(&doctor(&terminal)?.1, "hub")?;
    ensure!(state == "bad" && text.contains("hub.port"), "a web server is no broker: {text}");
    std::fs::write(&terminal.config, good)?;

    terminal.start()?;
    let healthy = eventually("a healthy terminal", async || {
        let (output, findings) = doctor(&terminal)?;
        ensure!(output.status.success(), "{findings:?}");
        ensure!(finding(&findings, "daemon")?.1.contains("runs"));
        Ok(findings)
    })
    .await?;
    for check in ["configuration", "models", "pins", "clock", "disk", "certificate", "hub"] {
        ensure!(finding(&healthy, check)?.0 == "ok", "{healthy:?}");
    }
    ensure!(finding(&healthy, "camera")?.0 == "note", "played from files");
    ensure!(terminal.runs()?, "the doctor disturbed the daemon");
    ensure!(!hub.logged().contains("rejected who="), "the doctor is taken for an attacker: {}", hub.logged());

    set_camera(&terminal, "kind = \"v4l2\"\ndevice = \"/dev/rollcall-none\"")?;
    reconfigure(&terminal, |text| {
        format!(
            "{text}[door]\nkind = \"gpio\"\nchip = \"/dev/rollcall-chip\"\nbackend = \"gpiocdev\"\nrelay = 3\n"
        )
    })?;
    hub.must(&["terminal", "revoke", &terminal.device])?;
    let (output, findings) = doctor(&terminal)?;
    ensure!(output.status.code() == Some(1));
    for (check, expected) in
        [("camera", "group video"), ("pins", "/dev/rollcall-chip"), ("hub", "rejects this terminal")]
    {
        let (state, text) = finding(&findings, check)?;
        ensure!(state == "bad" && text.contains(expected), "{text}");
    }
    hub.kill()?;
    let (state, text) = finding(&doctor(&terminal)?.1, "hub")?;
    ensure!(state == "bad" && text.contains("firewall"), "{text}");

    std::fs::write(&terminal.config, "state = 1")?;
    let (output, findings) = doctor(&terminal)?;
    ensure!(output.status.code() == Some(1) && finding(&findings, "configuration")?.0 == "bad");
    let output =
        run(&program("rollcall-edge")?, &["run", "--config", terminal.config.to_str().context("a path")?])?;
    ensure!(output.status.code() == Some(78), "systemd would start it again: {output:?}");
    Ok(())
}

#[test]
fn the_doctor_checks_the_fingerprint_of_the_hub() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let terminal = Terminal::unpaired(&dir, &hub, &WALK)?;
    std::fs::create_dir(dir.join("terminal"))?;
    let about_the_hub = || -> Result<Value> {
        let findings = doctor(&terminal)?.1;
        findings.into_iter().find(|finding| finding["check"] == "hub").context("nothing about the hub")
    };
    let found = about_the_hub()?;
    ensure!(found["state"] == "ok", "{found}");
    reconfigure(&terminal, |text| {
        let before = text.find("ca_sha256 = \"").map(|at| at + 13).unwrap_or_default();
        format!("{}{}{}", &text[..before], "5c".repeat(32), &text[before + 64..])
    })?;
    let found = about_the_hub()?;
    ensure!(found["state"] == "bad" && found.to_string().contains("terminal fingerprint"), "{found}");
    Ok(())
}

#[test]
fn observe_prints_text_and_json() -> Result<()> {
    let photo = photo("obama.jpg")?;
    let photo = photo.to_str().context("a path")?;
    let words = run(&program("rollcall-edge")?, &["observe", photo])?;
    let words = String::from_utf8(words.stdout)?;
    ensure!(
        words.contains("light") && words.contains("face at about") && words.contains("no gallery"),
        "{words}"
    );
    let output = run(&program("rollcall-edge")?, &["observe", photo, "--json"])?;
    let lines: Vec<Value> =
        String::from_utf8(output.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let kinds: Vec<&str> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
    ensure!(kinds == ["face", "second"], "{lines:?}");
    ensure!(
        lines[1]["nearest_m"].as_f64() > Some(0.1) && lines[1]["light"].as_f64() > Some(10.0),
        "{lines:?}"
    );
    Ok(())
}
