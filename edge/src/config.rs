//! The terminal's configuration: one TOML file. Unknown keys are errors; secrets are named by their file's path.

mod door;
mod host;
mod program;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use models::liveness::Policy;
use serde::Deserialize;

pub use crate::config::door::{Backend, Door, Gpio, Lock, Pin, Wired};
pub use crate::config::host::Host;
pub use crate::config::program::{Command, Format};

/// The configuration. `deploy/edge.example.toml` documents every key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub state: PathBuf,
    pub hub: Hub,
    pub camera: Camera,
    #[serde(default)]
    pub outbox: Outbox,
    #[serde(default)]
    pub vision: Vision,
    #[serde(default)]
    pub door: Door,
    /// `[roster]` is its earlier name.
    #[serde(default, alias = "roster")]
    pub gallery: Gallery,
    #[serde(default)]
    pub clock: Clock,
    #[serde(default)]
    pub metrics: Metrics,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// Host name or address, as in the hub's certificate.
    pub host: Host,
    /// Port of MQTT over TLS.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Port of HTTPS, for pairing.
    #[serde(default = "default_https_port")]
    pub https_port: u16,
    /// SHA-256 of the hub's certificate authority, from `rollcall-hub terminal fingerprint`, for pairing.
    pub ca_sha256: Option<String>,
    /// The hub's certificate authority and signing key (PEM); else `ca.pem` in the state folder.
    pub ca: Option<PathBuf>,
    /// This terminal's certificate (PEM), whose common name is the terminal's id; else
    /// `terminal.pem` in the state folder.
    pub certificate: Option<PathBuf>,
    /// This terminal's key (PEM, mode 0600); else `terminal.key` in the state folder.
    pub key: Option<PathBuf>,
}

pub struct Files {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Hub {
    /// The configured files, else those in the folder `state`.
    pub fn files(&self, state: &Path) -> Files {
        let or = |named: &Option<PathBuf>, name: &str| named.clone().unwrap_or_else(|| state.join(name));
        Files {
            ca: or(&self.ca, "ca.pem"),
            certificate: or(&self.certificate, "terminal.pem"),
            key: or(&self.key, "terminal.key"),
        }
    }
}

fn default_https_port() -> u16 {
    8443
}
fn default_port() -> u16 {
    8883
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbox {
    /// Megabytes of punches, at most; one takes about 200 bytes. When full, the terminal shows red and takes no more
    /// punches; nothing is dropped.
    pub limit_mb: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { limit_mb: 256 }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Camera {
    V4l2 {
        device: PathBuf,
        #[serde(default = "default_width")]
        width: u32,
        #[serde(default = "default_height")]
        height: u32,
        /// Frames a second.
        #[serde(default = "default_rate")]
        rate: u32,
    },
    /// A program that writes frames to its standard output.
    Program {
        command: Command,
        #[serde(default)]
        format: Format,
        /// Pixels of a raw frame.
        #[serde(default = "default_width")]
        width: u32,
        /// Pixels of a raw frame.
        #[serde(default = "default_height")]
        height: u32,
        /// Frames a second, at most.
        #[serde(default = "default_rate")]
        rate: u32,
    },
    /// A folder of JPEG or PNG frames, in the order of their names.
    Replay {
        folder: PathBuf,
        /// Frames a second.
        #[serde(default = "default_rate")]
        rate: u32,
        /// Restart at the end.
        #[serde(default)]
        repeat: bool,
    },
    /// Still photos moved past the lens, for demonstrations and tests.
    Walk {
        passes: Vec<Pass>,
        /// Frames a second.
        #[serde(default = "default_rate")]
        rate: u32,
        /// Seconds of an empty picture before the first pass.
        #[serde(default)]
        start_after_s: u32,
        /// Seconds until all pass again; without it they pass once.
        repeat_after_s: Option<u32>,
    },
}

impl Camera {
    /// Whether it is a camera and not a recording: then it can be reopened.
    pub fn is_real(&self) -> bool {
        matches!(self, Self::V4l2 { .. } | Self::Program { .. })
    }

    fn check(&self) -> Result<()> {
        let rate = match self {
            Self::V4l2 { width, height, rate, .. } | Self::Program { width, height, rate, .. } => {
                ensure!((64..=4096).contains(width), "camera.width must be between 64 and 4096 pixels");
                ensure!((64..=4096).contains(height), "camera.height must be between 64 and 4096 pixels");
                *rate
            }
            Self::Replay { rate, .. } => *rate,
            Self::Walk { rate, passes, .. } => {
                ensure!(!passes.is_empty(), "camera.passes must name a photo");
                *rate
            }
        };
        if let Self::Program { format: Format::Yuyv, width, .. } = self {
            ensure!(width % 2 == 0, "camera.width must be even for YUYV");
        }
        ensure!((1..=120).contains(&rate), "camera.rate must be between 1 and 120 frames a second");
        Ok(())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    pub photo: PathBuf,
    /// Light it from one side and dim it, so that the photo itself is not seen again.
    #[serde(default)]
    pub relit: bool,
}

fn default_width() -> u32 {
    640
}
fn default_height() -> u32 {
    480
}
fn default_rate() -> u32 {
    15
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vision {
    /// The models folder; else `models::Folder::find` searches for it.
    pub models: Option<PathBuf>,
    /// Frames that must agree on a person before they are punched.
    pub agreement: i32,
    /// Pixels: narrower faces are too far away to be recognised.
    pub narrowest_face: f32,
    /// Seconds that somebody must be out of sight before they are punched again.
    pub rearm_s: u64,
    /// What a face must show to be accepted as a person's.
    pub liveness: Policy,
}

impl Default for Vision {
    fn default() -> Self {
        Self { models: None, agreement: 3, narrowest_face: 60.0, rearm_s: 60, liveness: Policy::Off }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gallery {
    /// File of the gallery's encryption key; else the systemd credential `roster.key`, if there is one; else
    /// `roster.key` in the state folder.
    pub key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Loopback address and port for Prometheus.
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    #[serde(default)]
    pub synchronised: Synchronised,
}

/// When the terminal's clock counts as synchronised.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Synchronised {
    /// Once systemd-timesyncd has set it since the boot.
    #[default]
    Timesyncd,
    /// Always: another program, such as chrony, sets it.
    Always,
    #[cfg(test)]
    Never,
}

/// The configuration is wrong: retrying does not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(pub String);

impl Config {
    /// Reads and checks the file. What is wrong in it is [`Misconfigured`].
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).map_err(|error| Misconfigured(format!("{}: {error:#}", path.display())).into())
    }

    fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|e| anyhow::anyhow!(place(text, &e)))?;
        config.check()?;
        Ok(config)
    }

    pub fn gallery_key(&self) -> PathBuf {
        let credential = || {
            let folder = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?);
            Some(folder.join("roster.key")).filter(|file| file.exists())
        };
        self.gallery.key.clone().or_else(credential).unwrap_or_else(|| self.state.join("roster.key"))
    }

    fn check(&self) -> Result<()> {
        self.camera.check()?;
        if let Some(fingerprint) = &self.hub.ca_sha256 {
            let digits = fingerprint.chars().filter(|c| *c != ':').collect::<String>();
            let fits = digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit());
            ensure!(
                fits,
                "hub.ca_sha256 must have 64 hexadecimal characters: run rollcall-hub terminal fingerprint on the hub"
            );
        }
        ensure!(
            (1..=4096).contains(&self.outbox.limit_mb),
            "outbox.limit_mb must be between 1 and 4096 megabytes"
        );
        ensure!(
            (1..=30).contains(&self.vision.agreement),
            "vision.agreement must be between 1 and 30 frames"
        );
        ensure!(self.vision.rearm_s <= 3600, "vision.rearm_s must be at most 3600 seconds");
        let metrics = self.metrics.listen;
        ensure!(
            metrics.is_none_or(|listen| listen.ip().is_loopback()),
            "metrics.listen must be a loopback address, such as 127.0.0.1:9464: it is not protected"
        );
        self.door.check()
    }
}

/// A TOML error on one line, with its line number.
fn place(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message().replace('\n', " ");
    line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        state = "/tmp/x"
        [hub]
        host = "hub"
        ca = "ca.pem"
        certificate = "t.pem"
        key = "t.key"
        [camera]
        kind = "v4l2"
        device = "/dev/video0"
        [gallery]
        key = "roster.key"
    "#;

    fn read(text: &str) -> Result<Config> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        Config::read(file.path())
    }

    #[test]
    fn defaults_fill_what_is_left_out() {
        let config = read(GOOD).expect("good");
        assert_eq!(config.hub.port, 8883);
        assert_eq!(config.vision.rearm_s, 60);
        assert!(matches!(config.camera, Camera::V4l2 { width: 640, height: 480, rate: 15, .. }));
    }

    #[test]
    fn a_host_with_a_port_is_an_error_with_its_line() {
        let error = read(&GOOD.replace("\"hub\"", "\"hub:8883\"")).expect_err("a port");
        let error = format!("{error:#}");
        assert!(error.contains("line 4") && error.contains("the ports are hub.port"), "{error}");
        assert!(read(&GOOD.replace("\"hub\"", "\"[::1]\"")).is_ok());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error =
            format!("{:#}", read(&GOOD.replace("host =", "hots = 1\nhost =")).expect_err("unknown key"));
        assert!(error.contains("line 4") && error.contains("hots") && !error.contains('\n'), "{error}");
        assert!(read(&GOOD.replace("[gallery]", "[galery]")).is_err());
    }

    #[test]
    fn the_example_is_valid_as_it_is_and_with_every_pin() {
        let text = include_str!("../../deploy/edge.example.toml");
        read(text).expect("the example");
        let (before, door) = text.split_once("kind = \"log\"").expect("a door");
        let (door, after) = door.split_once("[gallery]").expect("a gallery");
        let keys = door.lines().map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => key,
            _ => line,
        });
        let door = keys.collect::<Vec<_>>().join("\n");
        let config = read(&format!("{before}kind = \"gpio\"{door}\n[gallery]{after}")).expect("all pins");
        let Door::Gpio(gpio) = config.door else { panic!("pins") };
        assert_eq!(gpio.pins().count(), 6);
    }

    #[test]
    fn the_gallery_may_still_be_called_roster() {
        let config = read(&GOOD.replace("[gallery]", "[roster]")).expect("good");
        assert_eq!(config.gallery_key(), PathBuf::from("roster.key"));
        assert!(read(&format!("{GOOD}\n[roster]\n")).is_err(), "both");
    }

    #[test]
    fn metrics_are_for_this_machine_alone() {
        assert!(read(&format!("{GOOD}\n[metrics]\nlisten = '0.0.0.0:9464'")).is_err());
        assert!(read(&format!("{GOOD}\n[metrics]\nlisten = '127.0.0.1:9464'")).is_ok());
    }

    #[test]
    fn a_command_is_a_list_that_no_error_repeats() {
        let (before, _) = GOOD.split_once("kind =").expect("a camera");
        let program = |rest: &str| read(&format!("{before}kind = \"program\"\n{rest}"));
        let config = program("command = ['rpicam-vid', '-o', '-']").expect("good");
        let Camera::Program { command, format: Format::Mjpeg, rate: 15, .. } = config.camera else {
            panic!()
        };
        assert_eq!((command.program(), command.arguments().len()), ("rpicam-vid", 2));
        for wrong in ["'ffmpeg -i rtsp://u:secret@cam'", "[]", "['']", "['ffmpeg', 7, 'secret']"] {
            let error = format!("{:#}", program(&format!("command = {wrong}")).expect_err("refused"));
            assert!(error.contains("camera.command must be a list") && !error.contains("secret"), "{error}");
        }
        let error = program("command = ['x']\nformat = 'yuyv'\nwidth = 641").expect_err("odd");
        assert!(format!("{error:#}").contains("camera.width"), "{error:#}");
        assert!(program("command = ['x']\nformat = 'h264'").is_err());
    }

    #[test]
    fn limits_are_checked() {
        let error = read(&GOOD.replace("device =", "rate = 0\ndevice =")).expect_err("no frames");
        assert!(format!("{error:#}").contains("camera.rate"));
    }
}
