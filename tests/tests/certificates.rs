//! Certificates over years: a hub that is never restarted, terminals that were offline for long.

use anyhow::{Context, Result, ensure};
use tests::dir::TestDir;
use tests::faketime::Faketime;
use tests::hub::Hub;
use tests::terminal::{Terminal, Walk};
use tests::{check_error, eventually};

const WALK: Walk<'_> = Walk { photos: &[("obama3.jpg", false)], rate: 30, rearm_s: 0, for_ever: true };
const DAY: i64 = 86_400;

async fn punches_are_delivered(terminal: &Terminal, hub: &Hub, more: usize) -> Result<()> {
    terminal.wait_until_durable(terminal.durable().len() + more).await?;
    terminal.wait_until_delivered(hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_offline_for_thirteen_months_reconnects_to_a_hub_that_never_restarted() -> Result<()> {
    let dir = TestDir::new()?;
    let clock = Faketime::new(&dir, "faketime")?;
    let mut hub = Hub::configure(&dir, "hub", "")?;
    hub.environment = clock.environment();
    hub.start()?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    let mut terminal = Terminal::unpaired(&dir, &hub, &WALK)?;
    terminal.environment = clock.environment();
    terminal.start()?;
    let (device, code) = (terminal.wait_for_line("device ").await?, terminal.wait_for_line("code ").await?);
    eventually("acceptance", async || {
        hub.must(&["terminal", "accept", &device, "--code", &code, "--name", "Door"]).map(drop)
    })
    .await?;
    punches_are_delivered(&terminal, &hub, 5).await?;
    terminal.kill()?;

    // The hub's first certificate and the terminal's have expired.
    let process = hub.process()?;
    clock.set(400 * DAY)?;
    terminal.start()?;
    punches_are_delivered(&terminal, &hub, 10).await?;
    ensure!(hub.process()? == process && hub.logged().contains("the hub's certificate is renewed"));
    ensure!(hub.logged().contains("certificate renewed for a terminal that asked with its key"));
    ensure!(hub.must(&["terminal", "claims"])?.lines().count() == 1, "the terminal had to be paired again");
    let renewed = "select count(*) from audit where action = 'terminal.renew'";
    ensure!(hub.cluster().number(renewed).await? == 1, "asked more than once, or not at all");

    // More than 400 days after its expiry a terminal has to be paired again.
    terminal.kill()?;
    clock.set(400 * DAY + 765 * DAY + DAY)?;
    terminal.start()?;
    eventually("the pairing request", async || {
        let claims = hub.must(&["terminal", "claims"])?;
        claims.contains(&device).then_some(()).with_context(|| terminal.logged())
    })
    .await?;
    ensure!(hub.cluster().number(renewed).await? == 1, "renewed after all");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ca_is_not_replaced_while_terminals_trust_it() -> Result<()> {
    let dir = TestDir::new()?;
    let mut hub = Hub::start_new(&dir)?;
    let folder = dir.join("identity");
    let device = hub.sign(&folder, "Door")?;
    hub.kill()?;
    std::fs::rename(hub.state.join("pki"), hub.state.join("away"))?;
    let config = hub.config.to_str().context("a path in UTF-8")?;
    let start =
        || tests::run(&tests::program("rollcall-hub")?, &["run", "--log", "json", "--config", config]);
    let said = start()?;
    let errors = String::from_utf8_lossy(&said.stderr);
    ensure!(!said.status.success() && errors.contains("ca.key is missing"), "{errors}");
    check_error(&hub.command(&["terminal", "fingerprint"])?, "back from a backup")?;
    ensure!(!hub.state.join("pki").exists(), "a new authority was made");
    // Once no terminal trusts it, a new CA is created.
    hub.must(&["terminal", "revoke", &device])?;
    hub.start()?;
    ensure!(hub.state.join("pki/ca.key").is_file());
    Ok(())
}
