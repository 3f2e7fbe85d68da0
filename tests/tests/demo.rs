//! The demonstration succeeds within its limits of memory.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tests::dir::TestDir;
use tests::{peak_memory, program, root};

/// Peak memory of the terminal and of the hub in MiB.
const TERMINAL_MIB: u64 = 150;
const HUB_MIB: u64 = 200;

#[test]
fn the_demonstration_shows_two_people_and_an_unknown_face() -> Result<()> {
    let dir = TestDir::new()?;
    let mut demo = Command::new(program("rollcall-hub")?)
        .args(["demo", "--once", "--photos"])
        .arg(root().join("deploy/photos"))
        .arg("--state")
        .arg(dir.join("demo"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = Vec::new();
    let (mut terminal, mut terminal_mib, mut hub_mib) = (None, 0, 0);
    for line in BufReader::new(demo.stdout.take().context("no output")?).lines() {
        let line = line?;
        if let Some(rest) = line.split(", process ").nth(1) {
            terminal = rest.split(',').next().and_then(|number| number.parse().ok());
        }
        hub_mib = hub_mib.max(peak_memory(demo.id()).unwrap_or(0));
        if let Some(process) = terminal {
            terminal_mib = terminal_mib.max(peak_memory(process).unwrap_or(0));
        }
        lines.push(line);
    }
    let status = demo.wait()?;
    let text = lines.join("\n");
    ensure!(status.success(), "{status}: {text}");
    let [.., header, one, two, unknown] = &lines[..] else { anyhow::bail!("{text}") };
    ensure!(header == "date,number,name,first_in,last_out,worked_s,status,flags", "{text}");
    let incomplete = r#",,,"incomplete","missing_out""#;
    ensure!(one.contains(r#","1001","Barack Obama","#) && one.ends_with(incomplete), "{one}");
    ensure!(two.contains(r#","1002","Joe Biden","#) && two.ends_with(incomplete), "{two}");
    ensure!(unknown == "unknown faces: 1 seen, 0 counted", "{unknown}");
    ensure!(text.contains("Liveness is off"), "{text}");
    let ids = |prefix: &str| {
        let mut ids: Vec<String> = lines
            .iter()
            .filter_map(|l| l.strip_prefix(prefix)?.split(' ').next().map(str::to_owned))
            .collect();
        ids.sort();
        ids
    };
    ensure!(ids("punch ").len() == 2 && ids("punch ") == ids("committed "), "{text}");
    println!("peak memory: terminal {terminal_mib} MiB, hub {hub_mib} MiB");
    ensure!((1..TERMINAL_MIB).contains(&terminal_mib), "the terminal took {terminal_mib} MiB");
    ensure!((1..HUB_MIB).contains(&hub_mib), "the hub took {hub_mib} MiB");
    Ok(())
}

#[test]
fn the_demonstration_needs_photos_and_an_empty_folder() -> Result<()> {
    let dir = TestDir::new()?;
    let demo = |photos: &std::path::Path| {
        let mut command = Command::new(program("rollcall-hub")?);
        command.args(["demo", "--once", "--photos"]).arg(photos).arg("--state").arg(dir.join("kept"));
        Ok::<_, anyhow::Error>(command.output()?)
    };
    tests::check_error(&demo(&dir.join("nowhere"))?, "run deploy/photos.sh")?;
    std::fs::create_dir(dir.join("kept"))?;
    std::fs::write(dir.join("kept/thesis.txt"), "years of work")?;
    tests::check_error(&demo(&root().join("deploy/photos"))?, "holds something else")?;
    ensure!(dir.join("kept/thesis.txt").exists(), "it deleted a foreign folder");
    Ok(())
}
