//! Runs `tests/smtp/server.py`, a mail server with faults.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;

use crate::dir::{TestDir, free_port};
use crate::{root, run};

const USER: &str = "rollcall";
pub const PASSWORD: &str = "correct mail battery";

/// Parses the stored emails with Python's `email`.
const READ: &str = r#"
import email, email.policy, json, pathlib, sys
def read(path):
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    names = ["X-Envelope-To", "From", "To", "Subject", "Message-ID", "Date", "Auto-Submitted", "Content-Type"]
    return {name: str(mail[name]) for name in names} | {"body": mail.get_content()}
print(json.dumps([read(path) for path in sorted(pathlib.Path(sys.argv[1]).glob("*.eml"))]))
"#;

/// Killed when dropped.
pub struct Smtp {
    folder: PathBuf,
    starttls: u16,
    tls: u16,
    child: Option<Child>,
}

/// A stored email.
#[derive(Debug)]
pub struct Mail(Value);

impl Mail {
    /// A header, decoded; `X-Envelope-To` is the recipient of the envelope.
    pub fn header(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    pub fn to(&self) -> &str {
        self.header("X-Envelope-To")
    }

    pub fn id(&self) -> &str {
        self.header("Message-ID")
    }

    pub fn body(&self) -> &str {
        self.header("body")
    }
}

impl Smtp {
    pub fn start_new(dir: &TestDir) -> Result<Self> {
        let folder = dir.join("smtp");
        std::fs::create_dir(&folder)?;
        certify(&folder)?;
        std::fs::write(folder.join("password"), format!("{PASSWORD}\n"))?;
        let mut server = Self { folder, starttls: free_port()?, tls: free_port()?, child: None };
        server.start()?;
        Ok(server)
    }

    /// Starts it on the same ports as before.
    pub fn start(&mut self) -> Result<()> {
        let errors =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("errors"))?;
        let mut child = Command::new("python3")
            .arg(root().join("tests/smtp/server.py"))
            .arg(&self.folder)
            .args([self.folder.join("server.pem"), self.folder.join("server.key")])
            .args([USER, PASSWORD])
            .args(["--starttls-port", &self.starttls.to_string(), "--tls-port", &self.tls.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .context("cannot run python3")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        self.child = Some(child);
        let errors = std::fs::read_to_string(self.folder.join("errors")).unwrap_or_default();
        ensure!(line.starts_with('{'), "the mail server did not start: {errors}");
        Ok(())
    }

    pub fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the mail server does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sets a mode of `server.py`.
    pub fn behave(&self, mode: &str) -> Result<()> {
        let next = self.folder.join("mode.next");
        std::fs::write(&next, mode)?;
        Ok(std::fs::rename(next, self.folder.join("mode"))?)
    }

    /// One line per event.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The stored emails in order.
    pub fn inbox(&self) -> Result<Vec<Mail>> {
        let folder = self.folder.join("inbox");
        let folder = folder.to_str().context("a path in UTF-8")?;
        let output = run(Path::new("python3"), &["-c", READ, folder])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mails: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        Ok(mails.into_iter().map(Mail).collect())
    }

    /// The hub's configuration of mail; `tls` is `starttls` or `tls`.
    pub fn configuration(&self, tls: &str) -> String {
        let port = if tls == "tls" { self.tls } else { self.starttls };
        let (password, ca) = (self.folder.join("password"), self.folder.join("ca.pem"));
        format!(
            "mail = {{ host = \"localhost\", port = {port}, tls = \"{tls}\", username = \"{USER}\", \
            password_file = {password:?}, from = \"Rollcall <rollcall@example.org>\", ca = {ca:?}, \
            timeout_s = 2, retry_s = 1 }}"
        )
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.stop();
        }
    }
}

/// Creates a CA (`ca.pem`) and a certificate of the server (`server.pem`, `server.key`).
fn certify(folder: &Path) -> Result<()> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "Mail authority");
    let key = KeyPair::generate()?;
    std::fs::write(folder.join("ca.pem"), authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["localhost".to_owned()])?;
    std::fs::write(folder.join("server.pem"), params.signed_by(&key, &issuer)?.pem())?;
    std::fs::write(folder.join("server.key"), key.serialize_pem())?;
    Ok(())
}
