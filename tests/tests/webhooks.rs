//! Webhooks are signed, retried and dropped.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tests::dir::TestDir;
use tests::notifications::{SECRET, add_late_workday, ann, check_nothing_leaks, start_hub, wait_until_sent};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_signed_and_retried() -> Result<()> {
    let dir = TestDir::new()?;
    let secret = dir.join("secret");
    std::fs::write(&secret, format!("{SECRET}\n"))?;
    let (port, mut posts) = listen(vec![500, 200])?;
    let hook = format!(
        "webhooks = [{{ name = \"payroll\", url = \"http://127.0.0.1:{port}/hook?key=opensesame\", \
        secret_file = {:?}, kinds = [\"late\"] }}]",
        secret.display().to_string()
    );
    let hub = start_hub(&dir, &hook).await?;
    ann("1001", "ann@example.org").insert(&hub).await?;
    add_late_workday(&hub, "1001").await?;
    let mut events = Vec::new();
    for _ in 0..2 {
        let one = tokio::time::timeout(tests::TIMEOUT, posts.recv()).await?.context("a post")?;
        ensure!(one.target == "/hook?key=opensesame", "{}", one.target);
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
        mac.update(one.header("x-rollcall-timestamp").as_bytes());
        mac.update(b".");
        mac.update(&one.body);
        let expected = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
        ensure!(one.header("x-rollcall-signature") == expected, "a wrong signature");
        let event: Value = serde_json::from_slice(&one.body)?;
        ensure!(event["id"] == one.header("x-rollcall-id"), "{event}");
        events.push(event);
    }
    ensure!(events[0]["id"] == events[1]["id"], "{events:?}");
    let event = &events[1];
    ensure!(event["kind"] == "late" && event["number"] == "1001" && event["name"] == "Ann Early", "{event}");
    ensure!(event["shift"] == "Early" && event["detail"]["late_s"] == 1800, "{event}");
    ensure!(event["date"].is_string() && event["sent_at"].is_string(), "{event}");
    wait_until_sent(&hub, 1).await?;
    ensure!(hub.cluster().number("select attempts::bigint from outbox").await? == 2);
    ensure!(!hub.logged().contains("opensesame"), "the address is in the log");
    check_nothing_leaks(&hub).await
}

struct Post {
    target: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Post {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Answers requests with one status after another.
fn listen(answers: Vec<u16>) -> Result<(u16, UnboundedReceiver<Post>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (sender, posts) = unbounded_channel();
    std::thread::spawn(move || {
        for status in answers {
            let taken = listener.accept().map_err(anyhow::Error::from);
            if let Err(error) = taken.and_then(|(stream, _)| answer(stream, status, &sender)) {
                eprintln!("webhook: {error:#}");
            }
        }
    });
    Ok((port, posts))
}

fn answer(stream: TcpStream, status: u16, posts: &UnboundedSender<Post>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).context("a target")?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length").context("a length")?.parse()?];
    reader.read_exact(&mut body)?;
    let mut stream = reader.into_inner();
    write!(stream, "HTTP/1.1 {status} Answer\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    Ok(posts.send(Post { target, headers, body })?)
}
