//! A real mail server of a test's own, which misbehaves as it is told: `tests/smtp/server.py`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;

use crate::ground::{Ground, free_port};
use crate::{root, run};

/// Whom the hub logs in as.
const USER: &str = "rollcall";
/// With which password.
pub const PASSWORD: &str = "correct mail battery";

/// Reads the stored messages as a mail program does.
const READ: &str = r#"
import email, email.policy, json, pathlib, sys
def read(path):
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    names = ["X-Envelope-To", "From", "To", "Subject", "Message-ID", "Date", "Auto-Submitted", "Content-Type"]
    return {name: str(mail[name]) for name in names} | {"body": mail.get_content()}
print(json.dumps([read(path) for path in sorted(pathlib.Path(sys.argv[1]).glob("*.eml"))]))
"#;

/// The server; runs or not.
pub struct Smtp {
    folder: PathBuf,
    starttls: u16,
    tls: u16,
    child: Option<Child>,
}

/// A message that it stored.
#[derive(Debug)]
pub struct Mail(Value);

impl Mail {
    /// A header, decoded; `X-Envelope-To` is whom the sender named to the server.
    pub fn header(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// Whom it was delivered to.
    pub fn to(&self) -> &str {
        self.header("X-Envelope-To")
    }

    /// The id by which copies are known.
    pub fn id(&self) -> &str {
        self.header("Message-ID")
    }

    /// The text.
    pub fn body(&self) -> &str {
        self.header("body")
    }
}

impl Smtp {
    /// Makes a server with a certificate, and starts it.
    pub fn start_new(ground: &Ground) -> Result<Self> {
        let folder = ground.join("smtp");
        std::fs::create_dir(&folder)?;
        certify(&folder)?;
        std::fs::write(folder.join("password"), format!("{PASSWORD}\n"))?;
        let mut server = Self { folder, starttls: free_port()?, tls: free_port()?, child: None };
        server.start()?;
        Ok(server)
    }

    /// Starts it on the same ports as before and waits until it listens.
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

    /// Ends it, whatever is under way.
    pub fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the mail server does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Has it behave otherwise from now on; its own documentation names the modes.
    pub fn behave(&self, mode: &str) -> Result<()> {
        let next = self.folder.join("mode.next");
        std::fs::write(&next, mode)?;
        Ok(std::fs::rename(next, self.folder.join("mode"))?)
    }

    /// What happened, a line each.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The messages that it stored, in their order.
    pub fn inbox(&self) -> Result<Vec<Mail>> {
        let folder = self.folder.join("inbox");
        let folder = folder.to_str().context("a path in UTF-8")?;
        let output = run(Path::new("python3"), &["-c", READ, folder])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mails: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        Ok(mails.into_iter().map(Mail).collect())
    }

    /// The line of a hub's configuration that has it send to this server; `tls` is `starttls` or `tls`.
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

/// Makes an authority (`ca.pem`) and has it sign the server (`server.pem`, `server.key`).
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
