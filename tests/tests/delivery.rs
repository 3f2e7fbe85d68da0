//! No punch is lost or duplicated, whatever is killed.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::dir::TestDir;
use tests::hub::Hub;
use tests::terminal::{Terminal, Walk};
use tests::{check_error, eventually, program, run};
use uuid::Uuid;

/// Two enrolled people who are punched in almost every frame, forever.
fn terminal_with_two_people(dir: &TestDir, hub: &Hub) -> Result<Terminal> {
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    hub.enrol("1002", "Two", &["biden.jpg"])?;
    let walk =
        Walk { photos: &[("obama3.jpg", false), ("biden.jpg", true)], rate: 30, rearm_s: 0, for_ever: true };
    Terminal::new(dir, hub, &walk)
}

async fn check_delivery(terminal: &Terminal, hub: &Hub) -> Result<()> {
    terminal.wait_until_delivered(hub).await?;
    let arrived = hub.cluster().punches().await?;
    // A punch that was durable but not printed when the terminal was killed is delivered, too.
    let unprinted = arrived.keys().filter(|id| !terminal.durable().contains(id)).count();
    ensure!(unprinted <= 6, "{unprinted} punches that no terminal printed");
    ensure!(hub.cluster().number("select count(*) from dead_letters").await? == 0, "dead letters");
    ensure!(hub.cluster().number("select count(*) from quarantine").await? == 0, "quarantine");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_hub_and_terminal_loses_and_duplicates_no_punch() -> Result<()> {
    let dir = TestDir::new()?;
    let mut hub = Hub::start_new(&dir)?;
    let mut terminal = terminal_with_two_people(&dir, &hub)?;
    terminal.start()?;
    terminal.wait_until_durable(20).await?;
    hub.kill()?;
    let offline = terminal.durable().len();
    terminal.wait_until_durable(offline + 20).await?;
    terminal.kill()?;
    terminal.start()?;
    terminal.wait_until_durable(offline + 40).await?;
    hub.start()?;
    terminal.wait_until_durable(offline + 60).await?;
    for round in 0..3 {
        hub.kill()?;
        hub.start()?;
        terminal.kill()?;
        terminal.start()?;
        terminal.wait_until_durable(offline + 80 + round * 10).await?;
    }
    terminal.kill()?;
    terminal.start()?;
    check_delivery(&terminal, &hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_a_backup_does_not_stop_delivery() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let mut terminal = terminal_with_two_people(&dir, &hub)?;
    terminal.start()?;
    terminal.wait_until_durable(20).await?;
    check_delivery(&terminal, &hub).await?;
    terminal.kill()?;
    // A restore from before the first punch: the terminal has deleted punches with a Receipt.
    hub.cluster().execute("delete from punches; update streams set watermark = 0").await?;
    terminal.start()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 10).await?;
    terminal.kill()?;
    terminal.start()?;
    eventually("an outbox that drains", async || {
        let queued = hub.cluster().number("select coalesce(min(queued), -1) from terminals").await?;
        let arrived = hub.cluster().punches().await?.len();
        ensure!(queued >= 0 && arrived >= 10, "{queued} queued, {arrived} arrived");
        let watermark = hub.cluster().number("select max(watermark) from streams").await?;
        let highest = hub.cluster().number("select max(seq) from punches").await?;
        ensure!(watermark == highest, "watermark {watermark} of {highest}");
        Ok(())
    })
    .await?;
    ensure!(hub.logged().contains("ALARM: punches that had a receipt"), "no alarm");
    ensure!(hub.cluster().number("select count(*) from audit where action = 'punches.missing'").await? > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_restored_from_a_copy_loses_no_punch() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let mut terminal = terminal_with_two_people(&dir, &hub)?;
    terminal.start()?;
    terminal.wait_until_durable(10).await?;
    terminal.kill()?;
    let (store, copy) = (dir.join("terminal/outbox"), dir.join("copy"));
    copy_folder(&store, &copy)?;
    terminal.start()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 40).await?;
    check_delivery(&terminal, &hub).await?;
    terminal.kill()?;
    // An old copy: its sequence numbers have been used for other punches since.
    std::fs::remove_dir_all(&store)?;
    copy_folder(&copy, &store)?;
    terminal.start()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 60).await?;
    let durable = terminal.durable();
    eventually("all punches of both stores", async || {
        let arrived = hub.cluster().punches().await?;
        ensure!(durable.iter().all(|id| arrived.get(id) == Some(&1)), "some are missing");
        Ok(())
    })
    .await?;
    ensure!(terminal.logged().contains("ALARM: the outbox assigned numbers twice"), "no alarm");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_restored_from_an_image_loses_no_punch_made_before_or_after() -> Result<()> {
    let dir = TestDir::new()?;
    let mut hub = Hub::start_new(&dir)?;
    let mut terminal = terminal_with_two_people(&dir, &hub)?;
    let (store, copy) = (dir.join("terminal/outbox"), dir.join("copy"));
    terminal.start()?;
    terminal.wait_until_durable(5).await?;
    check_delivery(&terminal, &hub).await?;
    // The image is taken while punches wait; these and many more are delivered afterwards.
    hub.kill()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 20).await?;
    terminal.kill()?;
    copy_folder(&store, &copy)?;
    hub.start()?;
    terminal.start()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 60).await?;
    check_delivery(&terminal, &hub).await?;
    terminal.kill()?;
    // Restored, it assigns the same numbers again, offline, until they exceed what the hub has.
    hub.kill()?;
    std::fs::remove_dir_all(&store)?;
    copy_folder(&copy, &store)?;
    let arrived = terminal.durable().len();
    terminal.start()?;
    terminal.wait_until_durable(arrived + 100).await?;
    hub.start()?;
    let durable = terminal.durable();
    eventually("all punches of both lives", async || {
        let arrived = hub.cluster().punches().await?;
        let missing = durable.iter().filter(|id| !arrived.contains_key(id)).count();
        ensure!(missing == 0, "{missing} are missing");
        Ok(())
    })
    .await?;
    ensure!(terminal.logged().contains("ALARM: the outbox assigned numbers twice"), "no alarm");
    // The new epoch continues the numbers: no gap before them.
    ensure!(!hub.logged().contains("ALARM: punches that had a receipt"), "a false alarm");
    Ok(())
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_terminal_on_the_same_outbox_is_rejected() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let mut terminal = terminal_with_two_people(&dir, &hub)?;
    terminal.start()?;
    terminal.wait_until_durable(1).await?;
    let second = terminal.run_second()?;
    ensure!(!second.status.success(), "it ran");
    let errors = String::from_utf8_lossy(&second.stderr);
    let last = errors.lines().last().unwrap_or_default();
    ensure!(last.starts_with("error: ") && last.contains("in use by another rollcall-edge"), "{errors}");
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 5).await
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_continues_after_postgresql_was_away() -> Result<()> {
    let dir = TestDir::new()?;
    let mut hub = Hub::start_new(&dir)?;
    let mut terminal = terminal_with_two_people(&dir, &hub)?;
    terminal.start()?;
    terminal.wait_until_durable(10).await?;
    // The private cluster: the hub restarts it.
    hub.cluster().kill()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 20).await?;
    check_delivery(&terminal, &hub).await?;
    // An external one, which is unavailable when the hub starts and once again later.
    hub.kill()?;
    hub.cluster().control(&["stop", "-s", "-w", "-m", "fast"])?;
    std::fs::write(dir.join("url"), hub.cluster().url())?;
    let text = std::fs::read_to_string(&hub.config)?;
    std::fs::write(&hub.config, format!("database_url_file = {:?}\n{text}", dir.join("url")))?;
    let mut waiting = hub.spawn()?;
    eventually("the hub to wait", async || {
        ensure!(hub.logged().contains("waiting for it"));
        Ok(())
    })
    .await?;
    ensure!(waiting.try_wait()?.is_none(), "the hub gave up");
    let start = ["start", "-s", "-w", "-l", "/dev/null"];
    hub.cluster().control(&start)?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 10).await?;
    check_delivery(&terminal, &hub).await?;
    hub.cluster().control(&["stop", "-s", "-w", "-m", "immediate"])?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    hub.cluster().control(&start)?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 10).await?;
    let done = check_delivery(&terminal, &hub).await;
    waiting.kill()?;
    waiting.wait()?;
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_shows_red_and_loses_no_punch() -> Result<()> {
    let dir = TestDir::new()?;
    let Some(disk) = SmallDisk::mount(&dir)? else {
        println!("skipped: mounting a small disk takes root");
        return Ok(());
    };
    let hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg"])?;
    let walk = Walk { photos: &[("obama3.jpg", false)], rate: 30, rearm_s: 0, for_ever: true };
    let mut terminal = Terminal::with_state(&dir, &hub, &walk, &disk.0.join("state"))?;
    terminal.start()?;
    terminal.wait_until_durable(5).await?;
    // Offline and out of space: durable punches stay, and no other gets a green light.
    disk.fill()?;
    eventually("the alarm", async || {
        ensure!(terminal.logged().contains("ALARM: a punch is not durable yet"), "{}", terminal.logged());
        ensure!(terminal.logged().contains("line=Red on=true"));
        Ok(())
    })
    .await?;
    let stuck = terminal.durable().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(terminal.durable().len() == stuck, "a green light on a full disk");
    disk.clear()?;
    terminal.wait_until_durable(stuck + 5).await?;
    ensure!(terminal.logged().contains("all faults cleared"));
    let alarmed = terminal.logged();
    let id = alarmed
        .lines()
        .find(|line| line.contains("ALARM: a punch is not durable yet"))
        .and_then(|line| line.split("punch.id=").nth(1)?.split_whitespace().next()?.parse::<Uuid>().ok());
    ensure!(
        id.is_some_and(|id| terminal.durable().contains(&id)),
        "the punch that met the full disk was dropped"
    );
    // Started repeatedly on a full disk, it does not take its outbox for a damaged one.
    for _ in 0..3 {
        terminal.kill()?;
        disk.fill()?;
        terminal.start()?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    terminal.kill()?;
    disk.clear()?;
    terminal.start()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 5).await?;
    ensure!(!terminal.logged().contains("damaged"), "{}", terminal.logged());
    check_delivery(&terminal, &hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_reported_and_recovered_from() -> Result<()> {
    let dir = TestDir::new()?;
    let Some(disk) = SmallDisk::mount(&dir)? else {
        println!("skipped: mounting a small disk takes root");
        return Ok(());
    };
    let hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg"])?;
    let walk = Walk { photos: &[("obama3.jpg", false)], rate: 30, rearm_s: 0, for_ever: true };
    let mut terminal = Terminal::with_state(&dir, &hub, &walk, &disk.0.join("state"))?;
    terminal.start()?;
    terminal.wait_until_durable(5).await?;
    terminal.kill()?;
    disk.remount("ro")?;
    let refused = terminal.run_second()?;
    let errors = String::from_utf8_lossy(&refused.stderr);
    let last = errors.lines().last().unwrap_or_default();
    ensure!(!refused.status.success() && last.contains("Read-only file system"), "{errors}");
    disk.remount("rw")?;
    terminal.start()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 5).await?;
    check_delivery(&terminal, &hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_outbox_is_salvaged_and_reported() -> Result<()> {
    let dir = TestDir::new()?;
    let mut hub = Hub::start_new(&dir)?;
    let mut terminal = terminal_with_two_people(&dir, &hub)?;
    terminal.start()?;
    terminal.wait_until_durable(10).await?;
    hub.kill()?;
    let online = terminal.durable().len();
    terminal.wait_until_durable(online + 60).await?;
    terminal.kill()?;
    let outbox = dir.join("terminal/outbox");
    let support = |question: &[&str]| {
        let state = dir.join("terminal").display().to_string();
        run(&program("rollcall-edge")?, &[&["outbox", "--state", &state], question].concat())
    };
    ensure!(support(&["verify"])?.status.success());
    let db = std::fs::File::options().write(true).open(outbox.join("store/db"))?;
    // Most pages are redundant: damage one after another until it has an effect.
    for page in 1.. {
        std::os::unix::fs::FileExt::write_all_at(&db, &[0; 4096], page * 4096)?;
        let output = support(&["verify"])?;
        if !output.status.success() {
            check_error(&output, "damaged")?;
            break;
        }
    }
    terminal.start()?;
    hub.start()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 10).await?;
    let log = terminal.logged();
    let alarm = log.lines().find(|line| line.contains("ALARM: the outbox was salvaged")).unwrap_or_default();
    let lost =
        alarm.split("lost=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    let lost = lost.ok_or_else(|| anyhow::anyhow!("no alarm: {log}"))?;
    ensure!(lost <= 30, "a page holds no {lost} punches");
    let durable = terminal.durable();
    eventually("what was saved", async || {
        let arrived = hub.cluster().punches().await?;
        let missing = durable.iter().filter(|id| !arrived.contains_key(id)).count();
        ensure!(missing <= lost, "{missing} missing, {lost} lost");
        ensure!(arrived.values().all(|count| *count == 1));
        Ok(())
    })
    .await?;
    eventually("the hub to know", async || {
        let listed = hub.must(&["terminal", "list"])?;
        ensure!(listed.contains("the outbox was damaged"), "{listed}");
        Ok(())
    })
    .await?;
    let status: serde_json::Value = serde_json::from_slice(&support(&["status"])?.stdout)?;
    let damaged = status["damaged"][0].as_str().unwrap_or_default().to_owned();
    let exported = support(&["export", "--store", &damaged])?;
    ensure!(
        String::from_utf8(exported.stdout)?.lines().count() >= 60 - lost,
        "the broken store tells too little"
    );
    Ok(())
}

/// A disk of 24 MiB.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(dir: &TestDir) -> Result<Option<Self>> {
        let path = dir.join("disk");
        std::fs::create_dir(&path)?;
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(&path)
            .output()?;
        Ok(mounted.status.success().then_some(Self(path)))
    }

    fn fill(&self) -> Result<()> {
        use std::io::Write;
        let mut file = std::fs::File::create(self.0.join("ballast"))?;
        for block in [vec![0; 1 << 16], vec![0; 512]] {
            while file.write_all(&block).is_ok() {}
        }
        Ok(())
    }

    fn remount(&self, how: &str) -> Result<()> {
        let options = format!("remount,{how}");
        let done = std::process::Command::new("mount").args(["-o", &options]).arg(&self.0).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join("ballast"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_port_in_use_is_reported_in_one_line() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let mut other = Hub::configure(&dir, "other", "")?;
    for (what, taken) in [("mqtt", hub.mqtt), ("https", hub.https)] {
        let own = if what == "mqtt" { other.mqtt } else { other.https };
        let text = std::fs::read_to_string(&other.config)?.replace(&own.to_string(), &taken.to_string());
        let file = dir.join("taken.toml");
        std::fs::write(&file, text)?;
        let before = std::mem::replace(&mut other.config, file);
        let output = other.command(&["run"])?;
        other.config = before;
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or_default();
        ensure!(!output.status.success(), "two hubs on one port");
        ensure!(last.contains(what) && last.contains("in use"), "{errors}");
    }
    Ok(())
}
