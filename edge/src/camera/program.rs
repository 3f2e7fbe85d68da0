//! A program that writes pictures to its standard output: rpicam-vid for a Raspberry Pi's Camera Module,
//! ffmpeg for a camera on the network.
//!
//! It has its own process group, which is killed when the camera is closed; if the daemon is killed, the kernel kills
//! the program. It inherits no open file and no secret of the environment. Its command, which may contain a password, is
//! never logged, and its standard error only without passwords and the paths of URLs.

mod stderr;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use models::Frame;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::camera::program::stderr::Tail;
use crate::camera::source::{Camera, DAMAGED};
use crate::camera::split::{Jpegs, Splitter};
use crate::camera::{mjpeg, yuyv};
use crate::config::{Command, Format};
use crate::door::close_on_exec;

/// Until the first picture: a network camera connects and waits for a key frame. Less than the daemon's time to stop.
const STARTUP: Duration = Duration::from_secs(8);
/// A program without a picture for so long is killed and restarted.
const STALLED: Duration = Duration::from_secs(5);
/// After closing its output, until it is killed.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes that are read at once.
const READ: usize = 1 << 16;
/// Share of the time between two pictures after which the next is taken: they come unevenly.
const DUE: f64 = 0.9;
/// Variables that a program inherits: none with the daemon's secrets.
const ENVIRONMENT: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH", "XDG_RUNTIME_DIR"];
/// The same by prefix.
const ENVIRONMENT_PREFIXES: [&str; 3] = ["LC_", "LIBCAMERA_", "GST_"];

#[derive(Clone, Copy)]
pub struct Shape {
    pub format: Format,
    /// Pixels of a raw picture; a JPEG has its own size.
    pub size: (u32, u32),
    /// Frames a second, at most: others are skipped.
    pub rate: u32,
}

pub struct Program {
    name: String,
    shape: Shape,
    running: Option<Child>,
    pictures: File,
    stderr: Option<File>,
    tail: Tail,
    buffer: Vec<u8>,
    splitter: Splitter,
    /// Bytes read since the last picture.
    unparsed: usize,
    origin: Instant,
    /// When the last picture was complete, and when the last was used.
    last_whole: Option<Instant>,
    last_taken: Option<Instant>,
    damaged: u32,
}

/// The path of the program.
pub fn find(command: &Command) -> Result<PathBuf> {
    let program = Path::new(command.program());
    let runs = |file: &PathBuf| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = if command.program().contains('/') {
        Some(program.to_owned()).filter(runs)
    } else {
        std::env::split_paths(&folders).map(|folder| folder.join(program)).find(runs)
    };
    found.with_context(|| format!("{} does not exist or is not executable", program.display()))
}

impl Program {
    /// Frames are timed since `origin`.
    pub fn open(command: &Command, shape: Shape, origin: Instant) -> Result<Self> {
        let program = find(command)?;
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut running = start(&program, command).with_context(|| format!("cannot start {name}"))?;
        let pictures = running.stdout.take().context("a program without standard output")?;
        let stderr = running.stderr.take().context("a program without standard error")?;
        let (width, height) = shape.size;
        let splitter = match shape.format {
            Format::Mjpeg => Splitter::Jpegs(Jpegs::default()),
            Format::Yuyv => Splitter::Sized { size: (width * height * 2) as usize, held: Vec::new() },
        };
        Ok(Self {
            name,
            shape,
            running: Some(running),
            pictures: non_blocking(pictures.into())?,
            stderr: Some(non_blocking(stderr.into())?),
            tail: Tail::new(command),
            buffer: vec![0; READ],
            splitter,
            unparsed: 0,
            origin,
            last_whole: None,
            last_taken: None,
            damaged: 0,
        })
    }

    /// Waits for the next picture.
    fn picture(&mut self) -> Result<(Vec<u8>, Duration)> {
        let between = Duration::from_secs(1).div_f64(f64::from(self.shape.rate));
        let timeout = if self.last_whole.is_some() { STALLED.max(3 * between) } else { STARTUP };
        let mut end = Instant::now() + timeout;
        loop {
            self.poll(end)?;
            self.drain_stderr();
            let read = match self.pictures.read(&mut self.buffer) {
                Ok(0) => return Err(self.ended()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error).with_context(|| self.name.clone()),
            };
            let now = Instant::now();
            self.unparsed += read;
            if let Some(picture) = self.splitter.push(&self.buffer[..read]) {
                (self.last_whole, self.unparsed, end) = (Some(now), 0, now + STALLED.max(3 * between));
                if self.last_taken.is_none_or(|taken| now >= taken + between.mul_f64(DUE)) {
                    self.last_taken = Some(now);
                    return Ok((picture, now.saturating_duration_since(self.origin)));
                }
            }
            if now >= end {
                return Err(self.stalled(timeout));
            }
        }
    }

    /// Until there is something to read, or `end`.
    fn poll(&self, end: Instant) -> Result<()> {
        let mut ends = vec![PollFd::new(&self.pictures, PollFlags::IN)];
        ends.extend(self.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now()))?;
        match rustix::event::poll(&mut ends, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot poll the program"),
        }
    }

    /// Reads its standard error: a full pipe would block it.
    fn drain_stderr(&mut self) {
        let mut bytes = [0; 4096];
        let Some(stderr) = &mut self.stderr else { return };
        match stderr.read(&mut bytes) {
            Ok(0) => self.stderr = None,
            Ok(read) => self.tail.push(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.stderr = None,
        }
    }

    fn ended(&mut self) -> Error {
        let how = match self.end(LINGER) {
            Some(status) => format!("{} ended ({status})", self.name),
            None => format!("{} closed its output", self.name),
        };
        self.explain(how)
    }

    fn stalled(&mut self, timeout: Duration) -> Error {
        self.end(Duration::ZERO);
        let (name, seconds) = (&self.name, timeout.as_secs());
        let how = match (self.unparsed, self.shape.format) {
            (0, _) => format!("{name} delivered no picture for {seconds} s"),
            (bytes, Format::Mjpeg) => {
                format!("{name} wrote {bytes} bytes and no JPEG in {seconds} s: does it write motion JPEG?")
            }
            (bytes, Format::Yuyv) => format!(
                "{name} wrote {bytes} bytes in {seconds} s, and no complete picture: check camera.width and camera.height"
            ),
        };
        self.explain(how)
    }

    /// Adds the last line of its standard error.
    fn explain(&mut self, how: String) -> Error {
        for _ in 0..stderr::KEPT {
            let before = self.tail.total();
            self.drain_stderr();
            if self.tail.total() == before {
                break;
            }
        }
        match self.tail.last() {
            Some(words) => anyhow!("{how}: {words}"),
            None => anyhow!(how),
        }
    }

    /// Kills its process group, after it had time to end by itself, and returns its status.
    fn end(&mut self, timeout: Duration) -> Option<std::process::ExitStatus> {
        let mut child = self.running.take()?;
        let pid = Pid::from_child(&child);
        // Not reaped before the group is killed: until then the id can't be reused.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let until = Instant::now() + timeout;
        while matches!(waitid(WaitId::Pid(pid), options), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = kill_process_group(pid, Signal::KILL);
        child.wait().ok()
    }

    fn decode(&self, picture: &[u8], rgb: &mut Vec<u8>) -> Result<(usize, usize)> {
        let (width, height) = (self.shape.size.0 as usize, self.shape.size.1 as usize);
        match self.shape.format {
            Format::Mjpeg => mjpeg::decode_any(picture, rgb),
            Format::Yuyv => yuyv::decode(picture, width, height, 2 * width, rgb).map(|()| (width, height)),
        }
    }
}

impl Camera for Program {
    fn next(&mut self, mut rgb: Vec<u8>) -> Result<Option<Frame>> {
        loop {
            let (picture, at) = self.picture()?;
            match self.decode(&picture, &mut rgb) {
                Ok((width, height)) => {
                    self.damaged = 0;
                    return Ok(Some(Frame::new(width, height, rgb, at)?));
                }
                Err(error) => {
                    self.damaged += 1;
                    if self.damaged > DAMAGED {
                        return Err(error.context(self.name.clone()));
                    }
                }
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Starts it through setpriv, so that it dies with the thread that started it.
fn start(program: &Path, command: &Command) -> std::io::Result<Child> {
    close_on_exec();
    let named = |name: &str| {
        ENVIRONMENT.contains(&name) || ENVIRONMENT_PREFIXES.iter().any(|family| name.starts_with(family))
    };
    std::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .args(command.arguments())
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(named)))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn non_blocking(end: OwnedFd) -> Result<File> {
    fcntl_setfl(end.as_fd(), fcntl_getfl(end.as_fd())? | OFlags::NONBLOCK)?;
    Ok(File::from(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command `sh -c SCRIPT`, whose further words are its arguments from `$1` on.
    fn sh(script: &str, arguments: &[&str]) -> Command {
        let words = ["sh", "-c", script, "camera"].into_iter().chain(arguments.iter().copied());
        let words: Vec<toml::Value> = words.map(toml::Value::from).collect();
        Command::try_from(toml::Value::Array(words)).expect("a command")
    }

    fn open(command: &Command, format: Format) -> Program {
        Program::open(command, Shape { format, size: (64, 48), rate: 120 }, Instant::now()).expect("starts")
    }

    fn error(mut camera: Program) -> String {
        loop {
            match camera.next(Vec::new()) {
                Ok(frame) => assert!(frame.is_some(), "a program never ends the stream"),
                Err(error) => return format!("{error:#}"),
            }
        }
    }

    fn jpeg(folder: &tempfile::TempDir) -> String {
        let file = folder.path().join("one.jpg");
        image::RgbImage::from_pixel(80, 72, image::Rgb([200, 10, 10])).save(&file).expect("saved");
        file.to_str().expect("a path").to_owned()
    }

    fn alive(pid: u32) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|it| it != "Z")
    }

    #[test]
    fn a_program_delivers_its_pictures_and_its_last_error() {
        let folder = tempfile::tempdir().expect("folder");
        let script = "for n in 1 2 3; do echo junk; cat \"$1\"; sleep 1; done; echo no sensor >&2; exit 3";
        let mut camera = open(&sh(script, &[&jpeg(&folder)]), Format::Mjpeg);
        for _ in 0..3 {
            let frame = camera.next(vec![1; 7]).expect("a frame").expect("no end");
            assert_eq!((frame.width(), frame.height()), (80, 72), "its own size");
            assert!(frame.rgb()[0] > 180 && frame.rgb()[1] < 40, "{:?}", &frame.rgb()[..3]);
        }
        let error = error(camera);
        assert_eq!(error, "sh ended (exit status: 3): no sensor");
    }

    #[test]
    fn raw_pictures_are_delivered() {
        let script = "head -c 6144 /dev/zero; sleep 1; head -c 3000 /dev/zero; sleep 9";
        let mut camera = open(&sh(script, &[]), Format::Yuyv);
        let frame = camera.next(Vec::new()).expect("a frame").expect("no end");
        assert_eq!((frame.width(), frame.height(), frame.rgb().len()), (64, 48, 64 * 48 * 3));
        let error = error(camera);
        assert_eq!(
            error,
            "sh wrote 3000 bytes in 5 s, and no complete picture: check camera.width and camera.height"
        );
    }

    #[test]
    fn a_program_that_stalls_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("folder");
        let script = "cat \"$1\"; sleep 77 & echo $! >&2; trap '' TERM; while :; do sleep 1; done";
        let mut camera = open(&sh(script, &[&jpeg(&folder)]), Format::Mjpeg);
        camera.next(Vec::new()).expect("a frame");
        let shell = camera.running.as_ref().expect("it runs").id();
        let error = error(camera);
        let (what, child) = error.rsplit_once(": ").expect("its last words");
        assert_eq!(what, "sh delivered no picture for 5 s");
        assert!(!alive(shell) && !Path::new(&format!("/proc/{shell}")).exists(), "not waited for");
        let child = child.parse().expect("a process");
        for _ in 0..100 {
            if !alive(child) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("what it started still runs");
    }

    #[test]
    fn it_dies_with_the_camera_and_with_the_thread_that_started_it() {
        let folder = tempfile::tempdir().expect("folder");
        let command = sh("cat \"$1\"; exec sleep 77", &[&jpeg(&folder)]);
        let run = |forget: bool| {
            let mut camera = open(&command, Format::Mjpeg);
            camera.next(Vec::new()).expect("a frame");
            let pid = camera.running.as_ref().expect("it runs").id();
            if forget {
                std::mem::forget(camera); // as when the daemon is killed
            }
            pid
        };
        assert!(!alive(run(false)), "closed");
        let killed = std::thread::scope(|scope| scope.spawn(|| run(true)).join().expect("a process"));
        for _ in 0..100 {
            if !alive(killed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it outlives the daemon");
    }

    #[test]
    fn it_inherits_nothing_of_the_daemon() {
        let script = "env >&2; ls -l /proc/self/fd >&2; echo the end >&2";
        // Open to whoever is started, as some libraries leave theirs.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).expect("set");
        let mut camera = open(&sh(script, &[]), Format::Mjpeg);
        assert!(camera.next(Vec::new()).is_err());
        let stderr = camera.tail.all();
        assert!(stderr.contains("PATH=") && stderr.ends_with("the end\n"), "{stderr}");
        assert!(!stderr.contains("CARGO") && !stderr.contains("socket:"), "{stderr}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_without_its_arguments() {
        let words = ["rpicam-none", "rtsp://u:secret@host/"].map(toml::Value::from);
        let command = Command::try_from(toml::Value::Array(words.to_vec())).expect("a command");
        let error = format!("{:#}", find(&command).expect_err("not there"));
        assert_eq!(error, "rpicam-none does not exist or is not executable");
        assert!(!format!("{command:?}").contains("secret"));
    }

    #[test]
    fn output_without_pictures_is_reported() {
        let error = error(open(&sh("echo h264; exec sleep 77", &[]), Format::Mjpeg));
        assert_eq!(error, "sh wrote 5 bytes and no JPEG in 8 s: does it write motion JPEG?");
    }

    #[test]
    fn frames_over_the_rate_are_skipped() {
        let folder = tempfile::tempdir().expect("folder");
        let command = sh("while :; do cat \"$1\"; sleep 0.01; done", &[&jpeg(&folder)]);
        let shape = Shape { format: Format::Mjpeg, size: (64, 48), rate: 5 };
        let mut camera = Program::open(&command, shape, Instant::now()).expect("starts");
        let times: Vec<Duration> =
            (0..4).map(|_| camera.next(Vec::new()).expect("a frame").expect("no end").at).collect();
        assert!(times[3] >= times[0] + Duration::from_millis(540), "{times:?}");
    }
}
