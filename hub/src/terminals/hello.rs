//! A terminal says what it holds; the hub answers with what it lacks: time, gallery, certificate,
//! commands.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use prost::Message as _;
use proto::{Answer, ClockSample, Command, DeviceId, Hello, Topic, seal};
use tracing::{info, warn};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::date::Timestamp;
use crate::db::boots::{Source, Start};
use crate::people::gallery;
use crate::terminals::commands;
use crate::terminals::held::Held;
use crate::terminals::worker::{Authenticated, Worker};
use crate::{clock, db, punches};

/// A clock that was set is not before this: 2020-01-01, in microseconds.
const EARLIEST_US: i64 = 1_577_836_800_000_000;
/// A terminal's clock that is further from the hub's than this is not trusted, in microseconds.
const APART_US: u64 = 24 * 3600 * 1_000_000;
/// Starts that a hello may tell of: a terminal remembers fewer.
const STARTS: usize = 64;

impl Worker {
    pub(super) async fn greet(&mut self, message: Authenticated) {
        let device = message.device.clone();
        if let Err(error) = self.answer(message).await {
            warn!(device.id = %device, error = format!("{error:#}"), "hello not answered");
        }
    }

    async fn answer(&mut self, message: Authenticated) -> Result<()> {
        let hello = Hello::decode(message.body.as_slice()).context("a hello that can't be read")?;
        ensure!(hello.version == proto::VERSION, "a hello of version {}", hello.version);
        ensure!(hello.clock_samples.len() <= STARTS, "a hello with {} starts", hello.clock_samples.len());
        let Authenticated { device, key, .. } = message;
        self.take_down(&device, &hello).await?;
        let certificate = if hello.request.is_empty() {
            String::new()
        } else {
            self.renew(&device, &key, &hello.request).await.context("its certificate is not renewed")?
        };
        let held = Held { gallery: hello.gallery_version, embedder: hello.embedder, key: hello.key };
        self.send_answer(&device, &held, certificate).await?;
        self.send_gallery(&device, &held).await?;
        self.held.insert(device, held);
        Ok(())
    }

    /// Keeps when the terminal started, places what waited for that, and what it says is done.
    async fn take_down(&self, device: &DeviceId, hello: &Hello) -> Result<()> {
        let now = clock::now();
        let starts: HashMap<&str, Start<'_>> = hello
            .clock_samples
            .iter()
            .filter_map(|sample| set_by_itself(sample, now))
            .chain(
                hello
                    .now
                    .as_ref()
                    .and_then(|sample| set_by_itself(sample, now).or_else(|| overheard(sample, now))),
            )
            .map(|start| (start.boot, start))
            .collect();
        let mut starts: Vec<Start<'_>> = starts.into_values().collect();
        starts.sort_by_key(|start| start.boot); // hubs lock them in one order
        let done: Vec<Uuid> = hello.done.iter().filter_map(|id| Uuid::from_slice(id).ok()).collect();
        let mut transaction = self.fleet.pool.begin().await?;
        db::boots::remember(&mut transaction, device, &starts).await?;
        let placed = punches::date_waiting(&mut transaction, device.as_str()).await?;
        if !done.is_empty() {
            db::commands::done(&mut transaction, device, &done).await?;
        }
        transaction.commit().await?;
        if placed > 0 {
            info!(device.id = %device, placed, "punches of an unset clock placed");
        }
        Ok(())
    }

    /// Signs the next certificate, for the key that the terminal has. Hellos cross: however often it
    /// asks, it gets the same one until it has come with it, for only one can be the next.
    async fn renew(&self, device: &DeviceId, key: &[u8], request: &str) -> Result<String> {
        let now = clock::now();
        let signed = self.fleet.authority.sign_terminal(request, now)?;
        ensure!(signed.device == *device, "it asks for the certificate of {}", signed.device);
        ensure!(signed.public_key == key, "it asks for a certificate for another key");
        let mut conn = self.fleet.pool.begin().await?;
        if let Some(pem) = db::terminals::renewed(&mut conn, device, now).await? {
            return Ok(pem);
        }
        let kept = db::terminals::renew(&mut conn, device, &signed.certificate(), &signed.pem).await?;
        ensure!(kept, "it is not accepted");
        if !self.fleet.own_broker {
            // Nobody here sees which certificate it comes with.
            db::terminals::follow(&mut conn, device, &signed.sha256).await?;
        }
        conn.commit().await?;
        info!(device.id = %device, until = %signed.expires_at, "certificate renewed");
        Ok(signed.pem)
    }

    async fn send_answer(&self, device: &DeviceId, held: &Held, certificate: String) -> Result<()> {
        let now = clock::now();
        let waiting = db::commands::waiting(&mut *self.fleet.pool.acquire().await?, device).await?;
        let commands = waiting.into_iter().map(|command| Command {
            id: command.id.as_bytes().to_vec(),
            kind: commands::on_the_wire(command.kind).into(),
            expires_us: now.as_microsecond().saturating_add(command.left_us),
        });
        let answer = Answer {
            version: proto::VERSION,
            key: held.key.clone(),
            at_us: now.as_microsecond(),
            certificate,
            commands: commands.collect(),
        };
        self.fleet.publisher.publish(device, Topic::Answer, answer.encode_to_vec())
    }

    /// Something about a terminal changed: there may be a command for it.
    pub(super) async fn answer_again(&self, device: &DeviceId) {
        let Some(held) = self.held.get(device) else { return };
        if let Err(error) = self.send_answer(device, held, String::new()).await {
            warn!(device.id = %device, error = format!("{error:#}"), "not set_by_itself; the next hello asks again");
        }
    }

    /// The gallery changed: every terminal that is known here gets what it lacks.
    pub(super) async fn send_galleries(&self) {
        for (device, held) in &self.held {
            if let Err(error) = self.send_gallery(device, held).await {
                warn!(device.id = %device, error = format!("{error:#}"), "gallery not sent");
            }
        }
    }

    /// Sends the next part of what a terminal lacks, sealed to it. Its hello afterwards asks for the
    /// part after that, so that a large gallery never piles up in the broker.
    async fn send_gallery(&self, device: &DeviceId, held: &Held) -> Result<()> {
        let mut conn = self.fleet.pool.acquire().await?;
        let update = gallery::next(&mut conn, &self.fleet.vault, &held.embedder, held.gallery).await?;
        let Some(update) = update else { return Ok(()) };
        info!(device.id = %device, after = update.after, through = update.through, "gallery sent");
        let plain = Zeroizing::new(update.encode_to_vec());
        let sealed = seal::seal(Topic::Gallery, device, &held.key, &plain).context("the hello's key")?;
        self.fleet.publisher.publish(device, Topic::Gallery, sealed.encode_to_vec())
    }
}

/// When a terminal started, by its own clock, if that was set and can be.
fn set_by_itself(sample: &ClockSample, now: Timestamp) -> Option<Start<'_>> {
    let latest = now.as_microsecond().saturating_add_unsigned(APART_US);
    let right = sample.synchronised && (EARLIEST_US..=latest).contains(&sample.at_us) && named(sample);
    right.then(|| start(sample, sample.at_us, Source::Terminal))
}

/// When it started, by when its hello arrived: some milliseconds too late, or as long as the hello
/// was held up. The earliest of many is right.
fn overheard(sample: &ClockSample, now: Timestamp) -> Option<Start<'_>> {
    named(sample).then(|| start(sample, now.as_microsecond(), Source::Hub))
}

fn named(sample: &ClockSample) -> bool {
    (1..=64).contains(&sample.boot.len()) && i64::try_from(sample.monotonic_us).is_ok()
}

fn start(sample: &ClockSample, at_us: i64, source: Source) -> Start<'_> {
    Start { boot: &sample.boot, start_us: at_us.saturating_sub_unsigned(sample.monotonic_us), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_believed_where_it_was_set_and_else_the_arrival() {
        let now = Timestamp(jiff::Timestamp::from_second(1_800_000_000).expect("a time"));
        let sample =
            |at_us, synchronised| ClockSample { boot: "b".into(), monotonic_us: 5, at_us, synchronised };
        let at = now.as_microsecond() - 1000;
        let by_itself = sample(at, true);
        assert!(
            set_by_itself(&by_itself, now)
                .is_some_and(|s| s.start_us == at - 5 && s.source == Source::Terminal)
        );
        for wrong in [sample(at, false), sample(5, true), sample(i64::MAX, true)] {
            assert!(set_by_itself(&wrong, now).is_none());
            let heard = overheard(&wrong, now).expect("heard");
            assert_eq!((heard.start_us, heard.source), (now.as_microsecond() - 5, Source::Hub));
        }
        let nameless = ClockSample { boot: String::new(), ..sample(at, true) };
        assert!(set_by_itself(&nameless, now).is_none() && overheard(&nameless, now).is_none());
    }
}
