//! A camera of the Linux kernel.
//!
//! What the driver answers is what counts: asked for a format it doesn't have, it silently gives
//! another. Any error means that the camera must be opened anew.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use models::Frame;
use v4l::buffer::Type;
use v4l::io::mmap::Stream;
use v4l::io::traits::CaptureStream;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, FourCC};

use crate::camera::source::{Camera, DAMAGED};
use crate::camera::{mjpeg, yuyv};

const BUFFERS: u32 = 4;
/// A camera that gives nothing for so long, and for three frames' time, is opened anew.
const STALLED: Duration = Duration::from_secs(2);
/// Drivers of raw sensors, among others: what they give only a program makes pictures of.
const RAW: [&str; 2] = ["unicam", "rp1-cfe"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pixels {
    Yuyv,
    Mjpeg,
}

impl Pixels {
    fn of(code: FourCC) -> Option<Self> {
        match &code.repr {
            b"YUYV" => Some(Self::Yuyv),
            b"MJPG" | b"JPEG" => Some(Self::Mjpeg),
            _ => None,
        }
    }
}

/// An open camera that streams.
pub struct V4l2 {
    /// Taken only on drop.
    stream: Option<Stream<'static>>,
    driver: String,
    /// Whether a frame came.
    streams: bool,
    shape: Shape,
    origin: Instant,
    stalled: Duration,
    damaged: u32,
}

impl V4l2 {
    /// Opens `device` and asks for a size and rate; the size that the driver chooses is taken.
    /// Frames have their time since `origin`.
    pub fn open(device: &Path, (width, height): (u32, u32), rate: u32, origin: Instant) -> Result<Self> {
        let name = device.display();
        let camera = Device::with_path(device).with_context(|| format!("cannot open {name}"))?;
        let driver = camera.query_caps().map(|found| found.driver).unwrap_or_default();
        let (format, pixels) = negotiate(&camera, width, height)
            .map_err(|error| if is_raw(&driver) { error.context(RawNode) } else { error })
            .with_context(|| name.to_string())?;
        // Some drivers have no rate to set; the frames come as they come.
        let _ = camera.set_params(&Parameters::with_fps(rate));
        let mut stream = Stream::with_buffers(&camera, Type::VideoCapture, BUFFERS)
            .with_context(|| format!("{name}: no buffers"))?;
        let stalled = STALLED.max(Duration::from_secs(3) / rate);
        stream.set_timeout(stalled);
        Ok(Self {
            stream: Some(stream),
            driver,
            streams: false,
            shape: Shape {
                pixels,
                width: format.width as usize,
                height: format.height as usize,
                stride: format.stride as usize,
            },
            origin,
            stalled,
            damaged: 0,
        })
    }
}

/// A node that leads to a sensor's raw pixels: it takes a format, but gives no frames.
#[derive(Debug, thiserror::Error)]
#[error(
    "this is a Raspberry Pi Camera Module's raw node: use camera.kind = \"program\" with rpicam-vid (edge.example.toml)"
)]
pub struct RawNode;

fn is_raw(driver: &str) -> bool {
    RAW.iter().any(|raw| driver.starts_with(raw))
}

/// Why a camera gives no frames. `streams`: it gave some.
fn silence(error: std::io::Error, streams: bool, driver: &str, patience: Duration) -> Error {
    if error.kind() == ErrorKind::TimedOut {
        return anyhow!("no frame for {} s", patience.as_secs());
    }
    // What a driver says where the sensor behind the node was not set up, which only libcamera does.
    let refused = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::BrokenPipe) && !streams;
    if is_raw(driver) && refused {
        return anyhow!(error).context(RawNode);
    }
    let what = if refused {
        "it takes a format, but does not stream: a raw sensor's node? Then use camera.kind = \"program\""
    } else {
        "the camera gives no frames"
    };
    anyhow!(error).context(what)
}

/// What the driver promised.
struct Shape {
    pixels: Pixels,
    width: usize,
    height: usize,
    /// Bytes of a row.
    stride: usize,
}

impl Shape {
    fn decode(&self, bytes: &[u8], rgb: &mut Vec<u8>) -> Result<()> {
        match self.pixels {
            Pixels::Mjpeg => mjpeg::decode(bytes, self.width, self.height, rgb),
            Pixels::Yuyv => yuyv::decode(bytes, self.width, self.height, self.stride, rgb),
        }
    }
}

/// Asks for YUYV, then for motion JPEG, and believes the answer. Drivers that don't have a format give
/// another one, or none.
fn negotiate(camera: &Device, width: u32, height: u32) -> Result<(Format, Pixels)> {
    for wanted in [b"YUYV", b"MJPG"] {
        let given = match camera.set_format(&Format::new(width, height, FourCC::new(wanted))) {
            Ok(given) => given,
            Err(error) if error.kind() == ErrorKind::InvalidInput => continue,
            Err(error) => return Err(error).context("no format"),
        };
        if let Some(pixels) = Pixels::of(given.fourcc) {
            ensure!(
                (64..=4096).contains(&given.width) && (64..=4096).contains(&given.height),
                "it offers only {}x{} pixels",
                given.width,
                given.height
            );
            return Ok((given, pixels));
        }
    }
    let offers = camera.enum_formats().unwrap_or_default();
    let offers: Vec<String> = offers.iter().map(|format| format.fourcc.to_string()).collect();
    bail!(
        "it offers neither YUYV nor motion JPEG, but {}",
        if offers.is_empty() { "nothing".into() } else { offers.join(", ") }
    )
}

impl Camera for V4l2 {
    fn next(&mut self, mut rgb: Vec<u8>) -> Result<Option<Frame>> {
        loop {
            let at = self.origin.elapsed();
            let stream = self.stream.as_mut().context("the camera is closed")?;
            let (bytes, meta) =
                stream.next().map_err(|error| silence(error, self.streams, &self.driver, self.stalled))?;
            self.streams = true;
            let bytes = &bytes[..bytes.len().min(meta.bytesused as usize)];
            match self.shape.decode(bytes, &mut rgb) {
                Ok(()) => {
                    self.damaged = 0;
                    return Ok(Some(Frame::new(self.shape.width, self.shape.height, rgb, at)?));
                }
                Err(error) => {
                    self.damaged += 1;
                    if self.damaged > DAMAGED {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl Drop for V4l2 {
    fn drop(&mut self) {
        // The stream's own drop panics where the driver refuses to stop.
        let stream = self.stream.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(stream)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_formats_are_accepted() {
        assert_eq!(Pixels::of(FourCC::new(b"YUYV")), Some(Pixels::Yuyv));
        assert_eq!(Pixels::of(FourCC::new(b"MJPG")), Some(Pixels::Mjpeg));
        assert_eq!(Pixels::of(FourCC::new(b"NV12")), None);
    }

    #[test]
    fn a_raw_sensors_node_is_named_with_the_way_out() {
        let said = |kind: i32, streams, driver| {
            let error = silence(std::io::Error::from_raw_os_error(kind), streams, driver, STALLED);
            (error.is::<RawNode>(), format!("{error:#}"))
        };
        let (invalid, broken, gone) = (22, 32, 19);
        for (kind, driver) in [(invalid, "unicam"), (broken, "rp1-cfe")] {
            let (raw, text) = said(kind, false, driver);
            assert!(raw && text.contains("rpicam-vid") && text.contains("Camera Module"), "{text}");
        }
        let (raw, text) = said(broken, false, "sun6i-csi");
        assert!(!raw && text.contains("kind = \"program\""), "{text}");
        for (kind, streams, driver) in [(gone, false, "unicam"), (invalid, true, "uvcvideo")] {
            let (raw, text) = said(kind, streams, driver);
            assert!(!raw && text.starts_with("the camera gives no frames"), "{text}");
        }
    }

    #[test]
    fn what_is_no_camera_is_an_error_that_names_it() {
        let error =
            V4l2::open(Path::new("/dev/null"), (640, 480), 15, Instant::now()).err().expect("no camera");
        assert!(format!("{error:#}").contains("/dev/null"));
    }
}
