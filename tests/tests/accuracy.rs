//! The accuracy of recognition, where the photos to measure it with are present.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::program;

#[test]
fn accuracy_on_lfw_stays_above_the_limit() -> Result<()> {
    let Some(faces) = std::env::var_os("ROLLCALL_FACES") else {
        println!("skipped: ROLLCALL_FACES names no folder of photos to measure with");
        return Ok(());
    };
    let faces = Path::new(&faces);
    let output = Command::new(program("examples/evaluate")?)
        .arg("--images")
        .arg(faces.join("lfw"))
        .arg("--pairs")
        .arg(faces.join("pairs.tsv"))
        .arg("--identities")
        .arg(faces.join("identities.tsv"))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout)?;
    println!("{figures}");
    ensure!(figures["accuracy"].as_f64() >= Some(0.991), "{figures}");
    ensure!(figures["detected"] == figures["images"], "{figures}");
    Ok(())
}
