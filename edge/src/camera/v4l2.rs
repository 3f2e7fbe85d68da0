//! A V4L2 camera.
//!
//! The driver's answer decides: asked for an unsupported format, it silently chooses another. After any error the
//! camera must be reopened.

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
/// A camera without a frame for so long, and for three frames' time, is reopened.
const STALLED: Duration = Duration::from_secs(2);
/// Drivers of raw sensors, whose pixels need libcamera.
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

pub struct V4l2 {
    /// Taken only on drop.
    stream: Option<Stream<'static>>,
    driver: String,
    /// Whether it has delivered a frame.
    streams: bool,
    shape: Shape,
    origin: Instant,
    stalled: Duration,
    damaged: u32,
}

impl V4l2 {
    /// Opens `device` and requests a size and rate; the driver may choose another size. Frames are timed since `origin`.
    pub fn open(device: &Path, (width, height): (u32, u32), rate: u32, origin: Instant) -> Result<Self> {
        let name = device.display();
        let camera = Device::with_path(device).with_context(|| format!("cannot open {name}"))?;
        let driver = camera.query_caps().map(|found| found.driver).unwrap_or_default();
        let (format, pixels) = negotiate(&camera, width, height)
            .map_err(|error| if is_raw(&driver) { error.context(RawNode) } else { error })
            .with_context(|| name.to_string())?;
        // Some drivers can't set a rate.
        let _ = camera.set_params(&Parameters::with_fps(rate));
        let mut stream = Stream::with_buffers(&camera, Type::VideoCapture, BUFFERS)
            .with_context(|| format!("{name}: cannot allocate buffers"))?;
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

/// A node of a sensor's raw pixels: it accepts a format, but delivers no frames.
#[derive(Debug, thiserror::Error)]
#[error(
    "this is a Raspberry Pi Camera Module's raw node: use camera.kind = \"program\" with rpicam-vid (edge.example.toml)"
)]
pub struct RawNode;

fn is_raw(driver: &str) -> bool {
    RAW.iter().any(|raw| driver.starts_with(raw))
}

/// Explains why a camera delivers no frames. `streams`: it has delivered some.
fn no_frames(error: std::io::Error, streams: bool, driver: &str, timeout: Duration) -> Error {
    if error.kind() == ErrorKind::TimedOut {
        return anyhow!("no frame for {} s", timeout.as_secs());
    }
    // The sensor behind the node was not set up, which only libcamera does.
    let refused = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::BrokenPipe) && !streams;
    if is_raw(driver) && refused {
        return anyhow!(error).context(RawNode);
    }
    let what = if refused {
        "it accepts a format, but does not stream: if this is the node of a raw sensor, use camera.kind = \"program\""
    } else {
        "the camera delivers no frames"
    };
    anyhow!(error).context(what)
}

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

/// Requests YUYV, then motion JPEG. Drivers without that format choose another one, or fail.
fn negotiate(camera: &Device, width: u32, height: u32) -> Result<(Format, Pixels)> {
    for wanted in [b"YUYV", b"MJPG"] {
        let given = match camera.set_format(&Format::new(width, height, FourCC::new(wanted))) {
            Ok(given) => given,
            Err(error) if error.kind() == ErrorKind::InvalidInput => continue,
            Err(error) => return Err(error).context("cannot set a format"),
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
                stream.next().map_err(|error| no_frames(error, self.streams, &self.driver, self.stalled))?;
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
        // The stream's drop panics where the driver fails to stop.
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
    fn a_raw_sensors_node_is_named_with_advice() {
        let said = |kind: i32, streams, driver| {
            let error = no_frames(std::io::Error::from_raw_os_error(kind), streams, driver, STALLED);
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
            assert!(!raw && text.starts_with("the camera delivers no frames"), "{text}");
        }
    }

    #[test]
    fn the_error_names_a_device_that_is_no_camera() {
        let error =
            V4l2::open(Path::new("/dev/null"), (640, 480), 15, Instant::now()).err().expect("no camera");
        assert!(format!("{error:#}").contains("/dev/null"));
    }
}
