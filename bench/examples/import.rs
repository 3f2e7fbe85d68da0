//! How fast people are imported: 10,000 from a CSV file, on the command line, beside a hub that runs,
//! in a private PostgreSQL. Prints one object of JSON: medians of three rounds in seconds, the start of
//! the program included. Each round begins with an empty database.
//!
//! `dry_run_s` is the trial before anybody is there, `import_s` the import, and `again_s` the same file
//! once more, which changes nothing.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bench::statistics::median;
use serde_json::json;
use tests::dir::TestDir;
use tests::hub::Hub;

const PEOPLE: usize = 10_000;
const ROUNDS: usize = 3;

/// Seconds that the steps of a round took.
struct Round {
    dry_run: f64,
    import: f64,
    again: f64,
}

fn main() -> Result<()> {
    let mut rounds = Vec::new();
    for n in 1..=ROUNDS {
        eprintln!("round {n} of {ROUNDS}");
        rounds.push(round()?);
    }
    let median = |seconds: fn(&Round) -> f64| median(&rounds.iter().map(seconds).collect::<Vec<_>>());
    let report = json!({
        "people": PEOPLE,
        "import_s": median(|round| round.import),
        "again_s": median(|round| round.again),
        "dry_run_s": median(|round| round.dry_run),
    });
    println!("{report}");
    Ok(())
}

fn round() -> Result<Round> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let path = dir.join("people.csv");
    std::fs::write(&path, people())?;
    let file = path.to_str().context("a path in UTF-8")?;
    let import = ["import", "people", file];
    let tried = format!("would be added {PEOPLE}, changed 0, unchanged 0: nothing was written");
    Ok(Round {
        dry_run: timed(&hub, &[import.as_slice(), &["--dry-run"]].concat(), &tried)?,
        import: timed(&hub, &import, &format!("added {PEOPLE}, changed 0, unchanged 0"))?,
        again: timed(&hub, &import, &format!("added 0, changed 0, unchanged {PEOPLE}"))?,
    })
}

/// Seconds that a command takes, which must say this at last.
fn timed(hub: &Hub, arguments: &[&str], expected: &str) -> Result<f64> {
    let start = Instant::now();
    let said = hub.must(arguments)?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(said.lines().last() == Some(expected), "{said}");
    Ok((seconds * 1000.0).round() / 1000.0)
}

/// People in 50 departments; the last tenth manage the others.
fn people() -> String {
    let mut text = "number,name,email,department,manager,language,employed_from\n".to_owned();
    let others = PEOPLE / 10 * 9;
    for n in 0..PEOPLE {
        let (number, department, month) = (100_000 + n, 1 + n / 200, 1 + n % 12);
        let manager = if n < others { (100_000 + others + n / 9).to_string() } else { String::new() };
        let cells = [
            &number.to_string(),
            &format!("Jörg Ångström {n}"),
            &format!("p{n}@example.org"),
            &format!("Büro {department}"),
            &manager,
            "de",
            &format!("2024-{month:02}-28"),
        ];
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}
