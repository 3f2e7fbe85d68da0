//! What a terminal costs while it hangs on the wall: processor time and memory of the real daemon, which
//! is connected to a real hub and looks at frames that are played from files.
//!
//!     steady [FRAMES]    default 900 for each scene, at 15 a second; then MEMORY frames at 120 a second
//!     steady 900 100000
//!
//! One line of JSON. `empty`, `known` and `unknown` are percent of one core: a still scene with a
//! sensor's noise, somebody enrolled who stays in view and moves a little, somebody who is not. Each
//! frame is read from its file and decoded, which takes no less than a camera's.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tests::dir::{TestDir, free_port};
use tests::hub::Hub;
use tests::photo;
use tests::terminal::{Terminal, Walk};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
/// Frames of a scene, shown again and again.
const SCENE: u32 = 60;
/// Pixels a side of the photo that stands in the picture: its face is about 140 wide.
const PHOTO: u32 = 400;
/// Standard deviation of a sensor's noise in dim light, in values of 255.
const NOISE: f32 = 4.0;
/// Clock ticks a second, as /proc tells them (`USER_HZ` of every Linux).
const TICKS: f64 = 100.0;

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let frames = numbers.next().unwrap_or(Ok(900))?;
    let memory = numbers.next().unwrap_or(Ok(0))?;
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    let walk = Walk { photos: &[("biden.jpg", false)], rate: 15, rearm_s: 60, for_ever: true };
    let mut stand = Stand { terminal: Terminal::new(&dir, &hub, &walk)?, port: free_port()? };
    let mut percents = Vec::new();
    for (name, who) in [("empty", None), ("known", Some("obama3.jpg")), ("unknown", Some("biden.jpg"))] {
        let folder = dir.join(name);
        draw(&folder, who)?;
        stand.show(&folder, 15)?;
        percents.push(stand.percent(frames).await?);
        stand.terminal.kill()?;
    }
    let resident = if memory > 0 { resident(&dir, &mut stand, memory).await? } else { Vec::new() };
    println!(
        "{}",
        json!({
            "empty_percent": percents[0],
            "known_percent": percents[1],
            "unknown_percent": percents[2],
            "frames": frames,
            "memory_frames": memory,
            "resident_kib": resident,
        })
    );
    Ok(())
}

/// A terminal before which scenes are played.
struct Stand {
    terminal: Terminal,
    port: u16,
}

impl Stand {
    fn show(&mut self, folder: &Path, rate: u32) -> Result<()> {
        let text = std::fs::read_to_string(&self.terminal.config)?;
        let before = text.split("[camera]").next().unwrap_or_default();
        let text = format!(
            "{before}[camera]\nkind = \"replay\"\nfolder = \"{}\"\nrate = {rate}\nrepeat = true\n\
            [metrics]\nlisten = \"127.0.0.1:{}\"\n",
            folder.display(),
            self.port
        );
        std::fs::write(&self.terminal.config, text)?;
        self.terminal.start()
    }

    async fn frames(&self) -> Result<u64> {
        let text = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.port)).await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix("rollcall_frames_total "));
        Ok(line.context("no frames in the metrics")?.parse()?)
    }

    async fn wait_for(&self, frames: u64) -> Result<u64> {
        let start = Instant::now();
        loop {
            match self.frames().await {
                Ok(seen) if seen >= frames => return Ok(seen),
                _ => tokio::time::sleep(Duration::from_millis(500)).await,
            }
            ensure!(start.elapsed() < Duration::from_hours(1), "no frames: {}", self.terminal.logged());
        }
    }

    /// Percent of one core over so many frames, the first ones apart.
    async fn percent(&self, frames: u64) -> Result<f64> {
        let first = self.wait_for(75).await?;
        let (start, before) = (Instant::now(), ticks(self.terminal.process()?)?);
        self.wait_for(first + frames).await?;
        let used = (ticks(self.terminal.process()?)? - before) / TICKS;
        Ok((used / start.elapsed().as_secs_f64() * 1000.0).round() / 10.0)
    }
}

/// Processor time of a process and all its threads, in ticks.
fn ticks(process: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime are the 14th and 15th field; the name was the second.
    Ok(fields[11].parse::<f64>()? + fields[12].parse::<f64>()?)
}

/// Resident memory in KiB, ten times over `frames` frames of somebody who comes and goes.
async fn resident(dir: &TestDir, stand: &mut Stand, frames: u64) -> Result<Vec<u64>> {
    let folder = dir.join("all");
    std::fs::create_dir(&folder)?;
    for name in ["known", "empty", "unknown"] {
        for entry in std::fs::read_dir(dir.join(name))? {
            let entry = entry?;
            let file = format!("{name}-{}", entry.file_name().to_string_lossy());
            std::fs::copy(entry.path(), folder.join(file))?;
        }
    }
    stand.show(&folder, 120)?;
    let mut resident = Vec::new();
    for tenth in 1..=10 {
        stand.wait_for(frames * tenth / 10).await?;
        let text = std::fs::read_to_string(format!("/proc/{}/status", stand.terminal.process()?))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        resident.push(line.trim().trim_end_matches(" kB").parse()?);
    }
    Ok(resident)
}

/// Draws a scene's frames: noise over grey, and perhaps a photo that moves a little.
fn draw(folder: &Path, who: Option<&str>) -> Result<()> {
    std::fs::create_dir(folder)?;
    let person =
        who.map(|name| Ok::<_, anyhow::Error>(image::open(photo(name)?)?.into_rgb8())).transpose()?;
    let person = person.map(|person| {
        let side = person.width().min(person.height());
        let square = imageops::crop_imm(&person, (person.width() - side) / 2, 0, side, side).to_image();
        imageops::resize(&square, PHOTO, PHOTO, FilterType::Triangle)
    });
    let mut random = SmallRng::seed_from_u64(1);
    for number in 0..SCENE {
        let mut frame = RgbImage::from_pixel(WIDTH, HEIGHT, Rgb([118; 3]));
        if let Some(person) = &person {
            let phase = f64::from(number) / f64::from(SCENE) * std::f64::consts::TAU;
            let (x, y) = (120.0 + 25.0 * phase.sin(), 40.0 + 8.0 * (2.0 * phase).cos());
            imageops::replace(&mut frame, person, x as i64, y as i64);
        }
        for value in frame.iter_mut() {
            // Four uniform values have a standard deviation of 0.577 together.
            let noise: f32 = (0..4).map(|_| random.random_range(-0.5..0.5_f32)).sum::<f32>() / 0.577;
            *value = (f32::from(*value) + noise * NOISE).clamp(0.0, 255.0) as u8;
        }
        let file = std::fs::File::create(folder.join(format!("{number:03}.jpg")))?;
        frame.write_with_encoder(JpegEncoder::new_with_quality(std::io::BufWriter::new(file), 85))?;
    }
    Ok(())
}
