//! What a terminal gathered in weeks without a network, on its way into PostgreSQL.
//!
//!     drain [PUNCHES]    default 150000; one line of JSON
//!
//! The outbox is filled as the terminal fills it; then the real terminal starts, with the real hub
//! and its PostgreSQL, with fsync.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::dir::TestDir;
use tests::hub::Hub;
use tests::simulated::add_people;
use tests::terminal::{Terminal, Walk};
use tests::{program, run};

#[tokio::main]
async fn main() -> Result<()> {
    let punches = std::env::args().nth(1).map_or(Ok(150_000), |text| text.parse::<i64>())?;
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let person = add_people(&hub.cluster(), 1).await?[0];
    let walk = Walk { photos: &[("astronaut.png", false)], rate: 1, rearm_s: 60, for_ever: false };
    let mut terminal = Terminal::new(&dir, &hub, &walk)?;
    let outbox = dir.join("terminal/outbox");
    let folder = outbox.to_str().context("a path in UTF-8")?;
    let writer = program("rollcall-edge")?.with_file_name("examples").join("outbox");
    let filled = run(&writer, &["fill", folder, &punches.to_string(), &person.to_string()])?;
    ensure!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    let start = Instant::now();
    terminal.start()?;
    let mut first = None;
    loop {
        let stored = hub.cluster().number("select count(*) from punches").await?;
        if stored > 0 {
            first.get_or_insert_with(Instant::now);
        }
        if stored >= punches {
            break;
        }
        ensure!(start.elapsed() < Duration::from_mins(10), "{stored} of {punches} in ten minutes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = start.elapsed();
    let distinct = hub.cluster().number("select count(distinct id) from punches").await?;
    let stored = hub.cluster().number("select count(*) from punches").await?;
    let odd = hub
        .cluster()
        .number("select (select count(*) from dead_letters) + (select count(*) from quarantine)")
        .await?;
    let flowing = first.context("nothing arrived")?.elapsed();
    println!(
        "{}",
        json!({
            "punches": punches,
            "seconds": (took.as_secs_f64() * 10.0).round() / 10.0,
            "punches_per_s": (punches as f64 / flowing.as_secs_f64()).round(),
            "stored": stored,
            "distinct": distinct,
            "dead_or_quarantined": odd,
        })
    );
    Ok(())
}
