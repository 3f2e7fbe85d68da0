//! Invalid input is an error in one line and changes nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use image::imageops::{overlay, resize};
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tests::api::expect_status;
use tests::company::Company;
use tests::dir::TestDir;
use tests::hub::Hub;
use tests::terminal::{Terminal, Walk};
use tests::{check_error, photo, program, root};

/// A copy of the models to be altered.
fn models(dir: &TestDir) -> Result<std::path::PathBuf> {
    let folder = dir.join("models");
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
fn missing_or_altered_models_are_rejected() -> Result<()> {
    let dir = TestDir::new()?;
    let folder = models(&dir)?;
    let output = observe(&folder, None)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let face = String::from_utf8(output.stdout)?.lines().next().context("a face")?.to_owned();
    let line: serde_json::Value = serde_json::from_str(&face)?;
    ensure!(line["width"].as_i64() > Some(50) && line["verdict"] == "unknown", "{line}");

    let library = std::env::var("ROLLCALL_LITERT").context("cargo sets it")?;
    let copy = dir.join("libLiteRt.so");
    std::fs::copy(&library, &copy)?;
    flip_a_byte(&copy)?;
    check_error(&observe(&folder, Some(&copy))?, "has the wrong sha256")?;
    check_error(&observe(&folder, Some(&dir.join("nowhere.so")))?, "models/fetch.sh")?;

    flip_a_byte(&folder.join("mesh.tflite"))?;
    check_error(&observe(&folder, None)?, "mesh.tflite has the wrong sha256")?;
    std::fs::remove_file(folder.join("mesh.tflite"))?;
    check_error(&observe(&folder, None)?, "mesh.tflite")?;
    std::fs::write(folder.join("detector.toml"), "role = 'detector'\nnonsense = 1\n")?;
    check_error(&observe(&folder, None)?, "detector.toml")
}

#[test]
fn an_unknown_key_in_a_configuration_is_named() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::configure(&dir, "hub", "zome = 'UTC'")?;
    check_error(&hub.command(&["run"])?, "zome")?;
    check_error(&hub.command(&["run", "--check-config"])?, "line 1")?;
    ensure!(!hub.state.exists(), "the hub began all the same");
    let edge = dir.join("edge.toml");
    std::fs::write(&edge, "state = '/nowhere'\n[camra]\n")?;
    let output = Command::new(program("rollcall-edge")?).args(["run", "--config"]).arg(&edge).output()?;
    check_error(&output, "camra")?;
    let output =
        Command::new(program("rollcall-edge")?).args(["run", "--config", "/nowhere/edge.toml"]).output()?;
    check_error(&output, "/nowhere/edge.toml")
}

/// Pictures without a face, with two, and with one too far away; a text file; a truncated file.
fn unusable_photos(dir: &TestDir) -> Result<[(std::path::PathBuf, &'static str); 5]> {
    let grey = image::RgbImage::from_fn(600, 400, |x, y| image::Rgb([(x / 4) as u8, (y / 3) as u8, 128]));
    grey.save(dir.join("nobody.png"))?;
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
    both.save(dir.join("two.png"))?;
    let mut far = image::RgbImage::from_pixel(640, 480, image::Rgb([120; 3]));
    overlay(
        &mut far,
        &resize(&one, 150, 150 * one.height() / one.width(), image::imageops::Triangle),
        270,
        170,
    );
    far.save(dir.join("far.png"))?;
    std::fs::write(dir.join("text.jpg"), "no picture at all")?;
    let whole = std::fs::read(photo("obama.jpg")?)?;
    std::fs::write(dir.join("cut.jpg"), &whole[..whole.len() * 9 / 10])?;
    Ok([
        (dir.join("nobody.png"), "no face was found"),
        (dir.join("two.png"), "2 faces were found"),
        (dir.join("far.png"), "pixels wide"),
        (dir.join("text.jpg"), "not a usable picture"),
        (dir.join("cut.jpg"), "the file ends before the picture does"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_photos_enrol_nobody() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.must(&["person", "add", "7", "Seven"])?;
    let good = photo("obama.jpg")?.display().to_string();
    check_error(&hub.command(&["person", "enrol", "7", &good])?, "has not consented")?;
    check_error(&hub.command(&["person", "enrol", "8", &good])?, "no employee has the number \"8\"")?;
    check_error(&hub.command(&["person", "add", "7", "Another"])?, "is taken")?;
    check_error(&hub.command(&["person", "add", " ", "Blank"])?, "number")?;
    hub.must(&["person", "consent", "7"])?;
    for (bad, reason) in unusable_photos(&dir)? {
        let bad = bad.display().to_string();
        check_error(&hub.command(&["person", "enrol", "7", &good, &bad])?, reason)?;
        check_error(&hub.command(&["person", "enrol", "7", &bad])?, reason)?;
    }
    check_error(&hub.command(&["person", "enrol", "7", "/nowhere.jpg"])?, "/nowhere.jpg")?;
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
async fn unsupported_image_formats_are_named_with_a_remedy() -> Result<()> {
    let company = Company::open().await?;
    company.add_people(&[("7", "Seven")]).await?;
    expect_status(204, company.hr.put("/people/7/consent", &Value::Null).await?)?;
    let pictures: [(&str, &[u8], &str); 3] = [
        ("IMG_1.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\x0eNmeta", "Most Compatible"),
        ("a.webp", b"RIFF\xc0\x8a\x02\0WEBPVP8 ", "WebP picture: save it as JPEG"),
        ("a.avif", b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf", "AVIF picture: save it as JPEG"),
    ];
    let folder = tempfile::tempdir()?;
    for (name, bytes, way_out) in pictures {
        let photo = Part::bytes(bytes).file_name(name);
        let answer = company.hr.upload("/people/7/photos", Form::new().part("photo", photo)).await?;
        let error = expect_status(422, answer)?["error"].to_string();
        ensure!(error.contains(name) && error.contains(way_out), "{error}");
        let file = folder.path().join(name);
        std::fs::write(&file, bytes)?;
        check_error(&company.hub.command(&["person", "enrol", "7", &file.display().to_string()])?, way_out)?;
    }
    ensure!(company.hub.cluster().number("select count(*) from templates").await? == 0);
    Ok(())
}

#[test]
fn a_wrong_vault_key_is_rejected_and_the_right_one_works_again() -> Result<()> {
    let dir = TestDir::new()?;
    let mut hub = Hub::start_new(&dir)?;
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
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let walk = Walk { photos: &[("biden.jpg", false)], rate: 15, rearm_s: 60, for_ever: false };
    let terminal = Terminal::new(&dir, &hub, &walk)?;
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
    check_error(&check()?, "terminal.pem")?;
    std::fs::remove_file(terminal.folder.join("terminal.key"))?;
    ensure!(!check()?.status.success());
    Ok(())
}
