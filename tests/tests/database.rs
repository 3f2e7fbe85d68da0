//! The version of the private PostgreSQL. The lab tests real upgrades (`tests/lab/run.sh upgrade`).

use anyhow::{Result, ensure};
use tests::check_error;
use tests::dir::TestDir;
use tests::hub::Hub;

#[test]
fn upgrade_does_nothing_for_the_newest_version() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::configure(&dir, "hub", "")?;
    check_error(&hub.command(&["database", "upgrade"])?, "there is no cluster")?;
    hub.must(&["person", "list"])?;
    let said = hub.must(&["database", "upgrade", "--yes"])?;
    ensure!(said.starts_with("nothing to do"), "{said}");
    ensure!(!hub.state.join("pg/data.new").exists());
    Ok(())
}

#[test]
fn a_cluster_of_another_version_is_reported_and_left_alone() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::configure(&dir, "hub", "")?;
    hub.must(&["person", "add", "1001", "Ada"])?;
    let file = hub.state.join("pg/data/PG_VERSION");
    let version = std::fs::read_to_string(&file)?;
    std::fs::write(&file, "9\n")?; // a version that is not installed
    for command in [&["run"][..], &["person", "list"], &["database", "upgrade", "--yes"]] {
        let output = hub.command(command)?;
        check_error(&output, "is of PostgreSQL 9")?;
        check_error(&output, "install the package postgresql-9")?;
        check_error(&output, "rollcall-hub database upgrade")?;
    }
    std::fs::write(&file, version)?;
    ensure!(hub.must(&["person", "list"])?.contains("Ada"));
    Ok(())
}

#[test]
fn an_external_database_is_not_upgraded() -> Result<()> {
    let dir = TestDir::new()?;
    let url = dir.join("url");
    std::fs::write(&url, "postgres://hub@localhost/postgres")?;
    let hub = Hub::configure(&dir, "hub", &format!("database_url_file = {url:?}"))?;
    check_error(&hub.command(&["database", "upgrade", "--yes"])?, "not the hub's own")
}
