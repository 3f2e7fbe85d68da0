//! Signing a terminal's request by hand, without pairing.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sqlx::PgPool;

use crate::accounts::CLI;
use crate::crypto::ca::Authority;
use crate::terminals::pairing;
use crate::{clock, db};

/// Signs a request, accepts the terminal and writes the answer.
pub async fn sign(
    pool: &PgPool,
    authority: &Authority,
    request: &str,
    name: &str,
    out: &Path,
    replace: bool,
) -> Result<proto::DeviceId> {
    pairing::named(name)?;
    let signed = authority.sign_terminal(request, clock::now())?;
    let device = signed.device.clone();
    let mut transaction = pool.begin().await?;
    let accepted =
        db::terminals::accept(&mut transaction, &device, name, &signed.certificate(), replace).await?;
    ensure!(accepted, "terminal {device} is known already; --replace gives it a new certificate");
    let detail = json!({"name": name});
    db::audit::record(&mut transaction, &*CLI, "terminal.accept", device.as_str(), detail).await?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    for (file, text) in [("terminal.pem", signed.pem.as_str()), ("ca.pem", authority.pem())] {
        let path = out.join(file);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    transaction.commit().await?;
    Ok(device)
}
