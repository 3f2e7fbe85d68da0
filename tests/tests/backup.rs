//! A hub that is gone comes back from what docs/operate/backup.md says to keep, by the commands that it names.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::ground::Ground;
use tests::hub::Hub;
use tests::{eventually, photo, program, refused, root};

/// The lines of the document's two blocks: making a backup, restoring it.
fn commands() -> Result<(String, String)> {
    let document = std::fs::read_to_string(root().join("docs/operate/backup.md"))?;
    let mut blocks =
        document.split("\n\n").filter(|block| block.lines().all(|line| line.starts_with("    ")));
    let mut next = || Ok::<_, anyhow::Error>(blocks.next().context("a block of commands")?.to_owned());
    Ok((next()?, next()?))
}

/// Runs the document's commands for this hub. Where it has sudo, the test has what it may: PostgreSQL's programs
/// run as the cluster's owner, the rest as the test does.
fn follow(commands: &str, hub: &Hub, folder: &Path) -> Result<()> {
    let state = hub.state.to_str().context("a path in UTF-8")?;
    let shims = r#"
        set -euo pipefail
        sudo() {
            [[ $1 != -u ]] || shift 2
            case $1 in
            rollcall-hub) "$HUB" "${@:2}" --config "$CONFIG" ;;
            */pg_ctl) if ((EUID == 0)); then (cd / && exec runuser -u postgres -- "$@"); else "$@"; fi ;;
            *) "$@" ;;
            esac
        }
    "#;
    let output = Command::new("bash")
        .args(["-c", &format!("{shims}\n{}", commands.replace("/var/lib/rollcall", state))])
        .current_dir(folder)
        .env("HUB", program("rollcall-hub")?)
        .env("CONFIG", &hub.config)
        .output()?;
    ensure!(output.status.success(), "{commands}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn a_hub_comes_back_from_its_backup() -> Result<()> {
    let (back_up, restore) = commands()?;
    let ground = Ground::new()?;
    let mut lost = Hub::start_new(&ground)?;
    lost.enrol("1001", "Barack Obama", &["obama.jpg"])?;
    lost.account("anna", "hr", None)?;
    lost.sign(&ground.join("terminal"), "Front door")?;
    let safe = ground.join("safe");
    std::fs::create_dir(&safe)?;
    follow(&back_up, &lost, &safe)?;
    let known = |hub: &Hub| {
        let asked: [&[&str]; 3] = [&["person", "list"], &["terminal", "list"], &["authority", "show"]];
        asked.map(|command| hub.must(command)).into_iter().collect::<Result<Vec<_>>>()
    };
    // A lost key is not replaced while templates are sealed with it.
    let (key, away) = (lost.state.join("vault.key"), lost.state.join("away"));
    std::fs::rename(&key, &away)?;
    let photo = photo("obama.jpg")?;
    let enrol = ["person", "enrol", "1001", photo.to_str().context("a path in UTF-8")?];
    refused(&lost.command(&enrol)?, "vault.key is missing")?;
    ensure!(!key.exists(), "a new key was made");
    std::fs::rename(&away, &key)?;
    let before = known(&lost)?;
    ensure!(before[0].contains("Barack Obama") && before[1].contains("Front door"), "{before:?}");
    lost.kill()?;

    let mut new = Hub::configure(&ground, "new", "")?;
    std::fs::create_dir(&new.state)?;
    follow(&restore, &new, &safe)?;
    new.start()?; // it looks whether the vault's key is that of the templates
    let after = known(&new)?;
    ensure!(after == before, "{after:?}");
    let templates = new.cluster().number("select count(*) from templates").await?;
    ensure!(templates > 0 && templates == lost.cluster().number("select count(*) from templates").await?);
    eventually("the account", async || {
        ensure!(new.cluster().column("select name from accounts").await? == ["anna"]);
        Ok(())
    })
    .await
}
