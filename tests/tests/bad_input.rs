//! Bad input gets one clear line and a non-zero exit, and changes nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use image::imageops::{overlay, resize};
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tests::api::answered;
use tests::company::Company;
use tests::ground::Ground;
use tests::hub::Hub;
use tests::terminal::{Terminal, Walk};
use tests::{photo, program, refused, root};

/// A copy of the models that may be spoilt.
fn models(ground: &Ground) -> Result<std::path::PathBuf> {
    let folder = ground.join("models");
    std::fs::create_dir(&folder)?;
    for entry in std::fs::read_dir(root().join("models/data"))? {
        let path = entry?.path();
        std::fs::copy(&path, folder.join(path.file_name().context("a name")?))?;
    }
    Ok(folder)
}

fn observe(models: &Path, library: Option<&Path>) -> Result<std::process::Output> {
    let mut command = Command::new(program("rollcall-edge")?);
    command.args(["observe", "--json"]).arg(photo("biden.jpg")?).env("ROLLCALL_MODELS", models);
    if let Some(library) = library {
        command.env("ROLLCALL_LITERT", library);
    }
    Ok(command.output()?)
}

fn flip_a_byte(file: &Path) -> Result<()> {
    let mut bytes = std::fs::read(file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Ok(std::fs::write(file, bytes)?)
}

#[test]
fn models_and_library_must_be_there_and_unaltered() -> Result<()> {
    let ground = Ground::new()?;
    let folder = models(&ground)?;
    let output = observe(&folder, None)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let face = String::from_utf8(output.stdout)?.lines().next().context("a face")?.to_owned();
    let line: serde_json::Value = serde_json::from_str(&face)?;
    ensure!(line["width"].as_i64() > Some(50) && line["verdict"] == "unknown", "{line}");

    let library = std::env::var("ROLLCALL_LITERT").context("cargo sets it")?;
    let copy = ground.join("libLiteRt.so");
    std::fs::copy(&library, &copy)?;
    flip_a_byte(&copy)?;
    refused(&observe(&folder, Some(&copy))?, "is not the file it should be")?;
    refused(&observe(&folder, Some(&ground.join("nowhere.so")))?, "models/fetch.sh")?;

    flip_a_byte(&folder.join("mesh.tflite"))?;
    refused(&observe(&folder, None)?, "mesh.tflite is not the file it should be")?;
    std::fs::remove_file(folder.join("mesh.tflite"))?;
    refused(&observe(&folder, None)?, "mesh.tflite")?;
    std::fs::write(folder.join("detector.toml"), "role = 'detector'\nnonsense = 1\n")?;
    refused(&observe(&folder, None)?, "detector.toml")
}

#[test]
fn an_unknown_key_in_a_configuration_is_named() -> Result<()> {
    let ground = Ground::new()?;
    let hub = Hub::configure(&ground, "hub", "zome = 'UTC'")?;
    refused(&hub.command(&["run"])?, "zome")?;
    refused(&hub.command(&["run", "--check-config"])?, "line 1")?;
    ensure!(!hub.state.exists(), "the hub began all the same");
    let edge = ground.join("edge.toml");
    std::fs::write(&edge, "state = '/nowhere'\n[camra]\n")?;
    let output = Command::new(program("rollcall-edge")?).args(["run", "--config"]).arg(&edge).output()?;
    refused(&output, "camra")?;
    let output =
        Command::new(program("rollcall-edge")?).args(["run", "--config", "/nowhere/edge.toml"]).output()?;
    refused(&output, "/nowhere/edge.toml")
}

/// A picture without a face, one with two, one with a face too far away, a text, and a copy that broke off.
fn bad_photos(ground: &Ground) -> Result<[(std::path::PathBuf, &'static str); 5]> {
    let grey = image::RgbImage::from_fn(600, 400, |x, y| image::Rgb([(x / 4) as u8, (y / 3) as u8, 128]));
    grey.save(ground.join("nobody.png"))?;
    let (one, two) =
        (image::open(photo("obama.jpg")?)?.into_rgb8(), image::open(photo("biden.jpg")?)?.into_rgb8());
    let half = |picture: &image::RgbImage| {
        let height = 600 * picture.height() / picture.width();
        resize(picture, 600, height, image::imageops::Triangle)
    };
    let (one, two) = (half(&one), half(&two));
    let mut both = image::RgbImage::new(1200, one.height().max(two.height()));
    overlay(&mut both, &one, 0, 0);
    overlay(&mut both, &two, 600, 0);
    both.save(ground.join("two.png"))?;
    let mut far = image::RgbImage::from_pixel(640, 480, image::Rgb([120; 3]));
    overlay(
        &mut far,
        &resize(&one, 150, 150 * one.height() / one.width(), image::imageops::Triangle),
        270,
        170,
    );
    far.save(ground.join("far.png"))?;
    std::fs::write(ground.join("text.jpg"), "no picture at all")?;
    let whole = std::fs::read(photo("obama.jpg")?)?;
    std::fs::write(ground.join("cut.jpg"), &whole[..whole.len() * 9 / 10])?;
    Ok([
        (ground.join("nobody.png"), "no face was found"),
        (ground.join("two.png"), "2 faces were found"),
        (ground.join("far.png"), "pixels wide"),
        (ground.join("text.jpg"), "not a usable picture"),
        (ground.join("cut.jpg"), "the file ends before the picture does"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn photos_that_cannot_be_used_enrol_nobody() -> Result<()> {
    let ground = Ground::new()?;
    let hub = Hub::start_new(&ground)?;
    hub.must(&["person", "add", "7", "Seven"])?;
    let good = photo("obama.jpg")?.display().to_string();
    refused(&hub.command(&["person", "enrol", "7", &good])?, "has not consented")?;
    refused(&hub.command(&["person", "enrol", "8", &good])?, "nobody with the number 8")?;
    refused(&hub.command(&["person", "add", "7", "Another"])?, "is taken")?;
    refused(&hub.command(&["person", "add", " ", "Blank"])?, "number")?;
    hub.must(&["person", "consent", "7"])?;
    for (bad, reason) in bad_photos(&ground)? {
        let bad = bad.display().to_string();
        refused(&hub.command(&["person", "enrol", "7", &good, &bad])?, reason)?;
        refused(&hub.command(&["person", "enrol", "7", &bad])?, reason)?;
    }
    refused(&hub.command(&["person", "enrol", "7", "/nowhere.jpg"])?, "/nowhere.jpg")?;
    ensure!(hub.cluster().number("select count(*) from templates").await? == 0, "half an enrolment");
    ensure!(hub.cluster().number("select count(*) from roster").await? == 0, "a roster without templates");
    hub.must(&["person", "enrol", "7", &good])?;
    ensure!(hub.cluster().number("select count(*) from templates").await? == 1);
    hub.must(&["person", "withdraw", "7"])?;
    ensure!(hub.cluster().number("select count(*) from templates").await? == 0, "templates without consent");
    ensure!(hub.cluster().number("select count(*) from audit where action = 'consent.withdraw'").await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_phones_and_browsers_are_named_with_the_way_out() -> Result<()> {
    let company = Company::open().await?;
    company.hire(&[("7", "Seven")]).await?;
    answered(204, company.hr.put("/people/7/consent", &Value::Null).await?)?;
    let pictures: [(&str, &[u8], &str); 3] = [
        ("IMG_1.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\x0eNmeta", "Most Compatible"),
        ("a.webp", b"RIFF\xc0\x8a\x02\0WEBPVP8 ", "WebP picture: save it as JPEG"),
        ("a.avif", b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf", "AVIF picture: save it as JPEG"),
    ];
    let folder = tempfile::tempdir()?;
    for (name, bytes, way_out) in pictures {
        let photo = Part::bytes(bytes).file_name(name);
        let answer = company.hr.upload("/people/7/photos", Form::new().part("photo", photo)).await?;
        let error = answered(422, answer)?["error"].to_string();
        ensure!(error.contains(name) && error.contains(way_out), "{error}");
        let file = folder.path().join(name);
        std::fs::write(&file, bytes)?;
        refused(&company.hub.command(&["person", "enrol", "7", &file.display().to_string()])?, way_out)?;
    }
    ensure!(company.hub.cluster().number("select count(*) from templates").await? == 0);
    Ok(())
}

#[test]
fn the_wrong_vault_key_is_refused_and_the_right_one_works_again() -> Result<()> {
    let ground = Ground::new()?;
    let mut hub = Hub::start_new(&ground)?;
    hub.enrol("7", "Seven", &["obama.jpg"])?;
    hub.kill()?;
    let key = hub.state.join("vault.key");
    let right = std::fs::read(&key)?;
    std::fs::write(&key, "00".repeat(32))?;
    let output = hub.command(&["run"])?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && errors.contains("sealed with another key"), "{errors}");
    std::fs::write(&key, right)?;
    hub.start()
}

#[test]
fn a_terminal_checks_its_configuration_and_identity() -> Result<()> {
    let ground = Ground::new()?;
    let hub = Hub::start_new(&ground)?;
    let walk = Walk { photos: &[("biden.jpg", false)], rate: 15, rearm_s: 60, for_ever: false };
    let terminal = Terminal::new(&ground, &hub, &walk)?;
    let check = || {
        let mut command = Command::new(program("rollcall-edge")?);
        Ok::<_, anyhow::Error>(
            command.args(["run", "--check-config", "--config"]).arg(&terminal.config).output()?,
        )
    };
    let output = check()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(String::from_utf8_lossy(&output.stdout).contains(&terminal.device));
    std::fs::write(terminal.folder.join("terminal.pem"), "rubbish")?;
    refused(&check()?, "terminal.pem")?;
    std::fs::remove_file(terminal.folder.join("terminal.key"))?;
    ensure!(!check()?.status.success());
    Ok(())
}
