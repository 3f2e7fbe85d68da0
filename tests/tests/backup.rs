//! A lost hub is restored by the commands of docs/operate/backup.md.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::dir::TestDir;
use tests::hub::Hub;
use tests::{check_error, eventually, photo, program, root};

/// The commands of the document: backup and restore.
fn commands() -> Result<(String, String)> {
    let document = std::fs::read_to_string(root().join("docs/operate/backup.md"))?;
    let mut blocks =
        document.split("\n\n").filter(|block| block.lines().all(|line| line.starts_with("    ")));
    let mut next = || Ok::<_, anyhow::Error>(blocks.next().context("a block of commands")?.to_owned());
    Ok((next()?, next()?))
}

/// Runs commands of the document for this hub. In place of sudo, PostgreSQL's programs run as the cluster's owner and
/// the others as this user.
fn run_commands(commands: &str, hub: &Hub, folder: &Path) -> Result<()> {
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
async fn a_hub_is_restored_from_its_backup() -> Result<()> {
    let (back_up, restore) = commands()?;
    let dir = TestDir::new()?;
    let mut lost = Hub::start_new(&dir)?;
    lost.enrol("1001", "Barack Obama", &["obama.jpg"])?;
    lost.account("anna", "hr", None)?;
    lost.sign(&dir.join("terminal"), "Front door")?;
    let safe = dir.join("safe");
    std::fs::create_dir(&safe)?;
    run_commands(&back_up, &lost, &safe)?;
    let known = |hub: &Hub| {
        let asked: [&[&str]; 3] = [&["person", "list"], &["terminal", "list"], &["authority", "show"]];
        asked.map(|command| hub.must(command)).into_iter().collect::<Result<Vec<_>>>()
    };
    // A lost key is not replaced while templates are encrypted with it.
    let (key, away) = (lost.state.join("vault.key"), lost.state.join("away"));
    std::fs::rename(&key, &away)?;
    let photo = photo("obama.jpg")?;
    let enrol = ["person", "enrol", "1001", photo.to_str().context("a path in UTF-8")?];
    check_error(&lost.command(&enrol)?, "vault.key is missing")?;
    ensure!(!key.exists(), "a new key was made");
    std::fs::rename(&away, &key)?;
    let before = known(&lost)?;
    ensure!(before[0].contains("Barack Obama") && before[1].contains("Front door"), "{before:?}");
    lost.kill()?;

    let mut new = Hub::configure(&dir, "new", "")?;
    std::fs::create_dir(&new.state)?;
    run_commands(&restore, &new, &safe)?;
    new.start()?; // checks that the vault key fits the templates
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
