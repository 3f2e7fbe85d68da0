//! Devices that ask to become terminals, and the people who stand before them and say that they may.
//!
//! A device shows a code that nobody else knows. Whoever accepts it reads that code from its screen:
//! so the device on the wall is accepted, and not another one that asked at the same time.

use jiff::ToSpan;
use proto::DeviceId;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use subtle::ConstantTimeEq;
use tracing::info;

use crate::accounts::Actor;
use crate::crypto::ca::{Authority, Requested};
use crate::date::Timestamp;
use crate::db::pairing::{Claim, ClaimState, NewRequest};
use crate::error::{Error, Problem, check_text};
use crate::text::NAME;
use crate::web::state::App;
use crate::{clock, db};

/// Claims that wait at once, at most: whoever floods the hub fills this list and nothing else.
const PENDING: i64 = 1000;
/// Of these from one address, at most.
const OF_ADDRESS: i64 = 200;
/// Hours after which a device that asks no more is forgotten.
const FORGOTTEN_H: i32 = 24;
/// Wrong codes until a claim is rejected: a code has 40 bits.
const ATTEMPTS: i32 = 5;
/// Days after the end of its certificate in which an accepted terminal gets the next one without a code:
/// a season and a year in a cupboard.
const RENEWED_FOR_DAYS: i64 = 400;
/// Letters and digits of a code.
const CODE: usize = 8;

/// What a device that asks is outcome.
pub enum Outcome {
    /// Nobody has decided yet.
    Pending,
    /// It is a terminal, with this certificate (PEM).
    Accepted(String),
    /// It is not wanted.
    Rejected,
}

/// A device asks, again and again until somebody has decided. A terminal whose certificate ended while
/// it was off needs nobody: it proves the key that was accepted.
pub async fn ask(app: &App, request: &str, code: &str, address: &str) -> Result<Outcome, Error> {
    let requested = Requested::read(request)
        .map_err(|error| Problem::PairingRequestInvalid { reason: format!("{error:#}") }.of("request"))?;
    // The request is signed with its key, and the name is made of the key: nobody asks for another.
    if !requested.names_itself() {
        return Err(Problem::PairingKeyMismatch.of("request"));
    }
    let code_sha256 = hash(code).ok_or_else(|| Problem::PairingCodeInvalid.of("code"))?;
    let mut transaction = app.pool.begin().await?;
    let device = &requested.device;
    let waiting = db::pairing::sweep(&mut transaction, FORGOTTEN_H).await?;
    let known = db::pairing::hold(&mut transaction, device).await?;
    let waits = known.as_ref().is_some_and(|claim| claim.state == ClaimState::Pending);
    let same = known.filter(|claim| claim.code_sha256 == code_sha256);
    if same.is_some() {
        db::pairing::seen(&mut transaction, device).await?;
    }
    let outcome = match same.map(|claim| (claim.state, claim.certificate)) {
        Some((ClaimState::Accepted, Some(certificate))) => Outcome::Accepted(certificate),
        same => match renewed(&mut transaction, app, &requested, request, clock::now()).await? {
            Some(certificate) => Outcome::Accepted(certificate),
            None if same.as_ref().is_some_and(|(state, _)| *state == ClaimState::Rejected) => {
                Outcome::Rejected
            }
            None if same.is_some() => Outcome::Pending,
            None => {
                let of_address = db::pairing::of_address(&mut transaction, address).await?;
                if !waits && (waiting >= PENDING || of_address >= OF_ADDRESS) {
                    return Err(Problem::PairingQueueFull.into());
                }
                let asking = NewRequest { device, request, code_sha256: &code_sha256, address };
                db::pairing::ask(&mut transaction, &asking).await?;
                info!(device.id = %device, address, "a device asks to become a terminal");
                Outcome::Pending
            }
        },
    };
    transaction.commit().await?;
    Ok(outcome)
}

/// The next certificate of an accepted terminal that asks with the accepted key. However often it asks,
/// it gets the same one until it has come with it, and the one before counts as long: who repeats
/// a request that they overheard changes nothing.
async fn renewed(
    conn: &mut PgConnection,
    app: &App,
    requested: &Requested,
    request: &str,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    let device = &requested.device;
    let Some(end) = db::terminals::certificate_end(conn, device, requested.public_key()).await? else {
        return Ok(None);
    };
    if now > end.plus((RENEWED_FOR_DAYS * 24).hours()) {
        return Ok(None);
    }
    if let Some(certificate) = db::terminals::renewed(conn, device, now).await? {
        return Ok(Some(certificate));
    }
    let signed = app.authority.sign_terminal(request, now)?;
    if !db::terminals::renew(conn, device, &signed.certificate(), &signed.pem).await? {
        return Ok(None);
    }
    if !app.own_broker {
        // Nobody here sees which certificate it comes with.
        db::terminals::follow(conn, device, &signed.sha256).await?;
    }
    let detail = json!({"before": end, "until": signed.expires_at});
    db::audit::record(conn, "terminal", "terminal.renew", device.as_str(), detail).await?;
    info!(device.id = %device, until = %signed.expires_at, "certificate renewed for a terminal that asked with its key");
    Ok(Some(signed.pem))
}

/// The claims that wait or were rejected.
pub async fn list(pool: &PgPool, zone: &str) -> Result<Vec<Claim>, Error> {
    Ok(db::pairing::list(&mut *pool.acquire().await?, None, zone).await?)
}

/// Somebody who reads the code from the device accepts it.
pub async fn accept(
    pool: &PgPool,
    authority: &Authority,
    actor: &Actor,
    device: &DeviceId,
    code: &str,
    name: &str,
) -> Result<Timestamp, Error> {
    named(name)?;
    let mut transaction = pool.begin().await?;
    let claim = pending(&mut transaction, device).await?;
    let right = hash(code).is_some_and(|given| given.ct_eq(&claim.code_sha256).into());
    if !right {
        let left = db::pairing::miss(&mut transaction, device, ATTEMPTS).await?;
        db::audit::record(
            &mut transaction,
            actor,
            "claim.wrong-code",
            device.as_str(),
            json!({"left": left}),
        )
        .await?;
        transaction.commit().await?;
        info!(device.id = %device, left, "a wrong code for a device");
        return Err(Problem::PairingCodeWrong { attempts_left: left.into() }.into());
    }
    let signed = authority.sign_terminal(&claim.request, clock::now())?;
    db::terminals::accept(&mut transaction, device, name, &signed.certificate(), true).await?;
    db::pairing::decide(&mut transaction, device, ClaimState::Accepted, Some(&signed.pem)).await?;
    db::audit::record(&mut transaction, actor, "terminal.accept", device.as_str(), json!({"name": name}))
        .await?;
    transaction.commit().await?;
    info!(device.id = %device, name, "terminal accepted");
    Ok(signed.expires_at)
}

/// Refuses what is no name for a terminal.
pub fn named(name: &str) -> Result<(), Error> {
    check_text("name", name, NAME)
}

/// A device is not wanted.
pub async fn reject(pool: &PgPool, actor: &Actor, device: &DeviceId) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    pending(&mut transaction, device).await?;
    db::pairing::decide(&mut transaction, device, ClaimState::Rejected, None).await?;
    db::audit::record(&mut transaction, actor, "terminal.reject", device.as_str(), json!({})).await?;
    Ok(transaction.commit().await?)
}

async fn pending(conn: &mut PgConnection, device: &DeviceId) -> Result<Claim, Error> {
    let claim = db::pairing::hold(conn, device).await?;
    let claim = claim.ok_or_else(|| Problem::PairingUnknown { terminal: device.to_string() })?;
    match claim.state {
        ClaimState::Pending => Ok(claim),
        ClaimState::Accepted => Err(Problem::PairingAccepted { terminal: device.to_string() }.into()),
        ClaimState::Rejected => {
            Err(Problem::PairingNotPending { terminal: device.to_string(), state: claim.state.to_string() }
                .into())
        }
    }
}

/// The hash of a code, however it was typed: without dashes and blanks, in any case.
fn hash(code: &str) -> Option<Vec<u8>> {
    let plain: String = code.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    let plain = plain.to_ascii_uppercase();
    let fits = plain.len() == CODE && plain.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then(|| Sha256::digest(plain.as_bytes()).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_however_it_is_typed() {
        assert_eq!(hash("abcd-2345"), hash(" ABCD 2345"));
        assert_ne!(hash("abcd-2345"), hash("abcd-2346"));
        assert!(hash("abcd-234").is_none() && hash("abcd-23455").is_none() && hash("abcd-234é").is_none());
    }
}
