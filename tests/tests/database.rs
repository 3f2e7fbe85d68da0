//! The private PostgreSQL stays with its version. Real upgrades, from one version to another, are the lab's
//! (`tests/lab/run.sh upgrade`).

use anyhow::{Result, ensure};
use tests::ground::Ground;
use tests::hub::Hub;
use tests::refused;

#[test]
fn there_is_nothing_to_do_for_the_newest() -> Result<()> {
    let ground = Ground::new()?;
    let hub = Hub::configure(&ground, "hub", "")?;
    refused(&hub.command(&["database", "upgrade"])?, "there is no cluster")?;
    hub.must(&["person", "list"])?;
    let said = hub.must(&["database", "upgrade", "--yes"])?;
    ensure!(said.starts_with("nothing to do"), "{said}");
    ensure!(!hub.state.join("pg/data.new").exists());
    Ok(())
}

#[test]
fn a_cluster_of_another_version_is_named_and_left_alone() -> Result<()> {
    let ground = Ground::new()?;
    let hub = Hub::configure(&ground, "hub", "")?;
    hub.must(&["person", "add", "1001", "Ada"])?;
    let file = hub.state.join("pg/data/PG_VERSION");
    let version = std::fs::read_to_string(&file)?;
    std::fs::write(&file, "9\n")?; // not installed anywhere
    for command in [&["run"][..], &["person", "list"], &["database", "upgrade", "--yes"]] {
        let output = hub.command(command)?;
        refused(&output, "is of PostgreSQL 9")?;
        refused(&output, "install the package postgresql-9")?;
        refused(&output, "rollcall-hub database upgrade")?;
    }
    std::fs::write(&file, version)?;
    ensure!(hub.must(&["person", "list"])?.contains("Ada"));
    Ok(())
}

#[test]
fn the_database_of_somebody_else_is_not_upgraded() -> Result<()> {
    let ground = Ground::new()?;
    let url = ground.join("url");
    std::fs::write(&url, "postgres://hub@localhost/postgres")?;
    let hub = Hub::configure(&ground, "hub", &format!("database_url_file = {url:?}"))?;
    refused(&hub.command(&["database", "upgrade", "--yes"])?, "not the hub's own")
}
