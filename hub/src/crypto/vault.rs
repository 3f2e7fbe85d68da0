//! Templates at rest: AES-256-GCM, bound to the person, the row, the embedder and the key.

use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use anyhow::{Context, Result, anyhow, ensure};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::crypto::secret_file;
use crate::person::PersonId;

const NONCE_BYTES: usize = 12;

/// Seals and opens templates. Holds the key; has no `Debug`.
pub struct Vault {
    cipher: Aes256Gcm,
    key_id: String,
}

/// What a sealed template is bound to: opened as anything else, it does not open.
#[derive(Clone, Copy)]
pub struct Label<'a> {
    /// Whose it is.
    pub person: PersonId,
    /// Its row.
    pub template: Uuid,
    /// The sha256 of the embedder that made it.
    pub embedder: &'a str,
}

impl Vault {
    /// Opens the vault with the key in `file`, which is made if it is not there.
    pub fn open(file: &Path) -> Result<Self> {
        if !file.exists() {
            let fresh: [u8; 32] = rand::random();
            secret_file::write_new(file, hex::encode(fresh).as_bytes())?;
        }
        let text = Zeroizing::new(secret_file::read(file)?);
        let key = Zeroizing::new(hex::decode(text.trim()).unwrap_or_default());
        ensure!(key.len() == 32, "{} must hold 64 hexadecimal characters", file.display());
        let key_id = hex::encode(&Sha256::digest([b"rollcall key id".as_slice(), &key].concat())[..8]);
        let cipher = Aes256Gcm::new(key.as_slice().try_into().context("a key has 32 bytes")?);
        Ok(Self { cipher, key_id })
    }

    /// Names the key without telling anything of it.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    fn data(&self, label: Label<'_>) -> Vec<u8> {
        [
            label.person.0.as_bytes(),
            label.template.as_bytes().as_slice(),
            label.embedder.as_bytes(),
            self.key_id.as_bytes(),
        ]
        .concat()
    }

    /// Nonce and ciphertext.
    pub fn seal(&self, label: Label<'_>, template: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), Payload { msg: template, aad: &self.data(label) })
            .map_err(|_| anyhow!("a template can't be sealed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed under this very label.
    pub fn unseal(&self, label: Label<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) =
            sealed.split_first_chunk::<NONCE_BYTES>().context("a sealed template is cut short")?;
        let plain = self
            .cipher
            .decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: &self.data(label) })
            .map_err(|_| anyhow!("template {} does not open with this key", label.template))?;
        Ok(Zeroizing::new(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_opens_only_as_what_it_was_sealed() {
        let folder = tempfile::tempdir().expect("folder");
        let vault = Vault::open(&folder.path().join("key")).expect("opens");
        let label = Label { person: PersonId::from_u128(1), template: Uuid::from_u128(2), embedder: "e" };
        let sealed = vault.seal(label, b"numbers").expect("seals");
        assert!(!sealed.windows(7).any(|w| w == b"numbers"));
        assert_eq!(vault.unseal(label, &sealed).expect("opens").as_slice(), b"numbers");
        let others = [
            Label { person: PersonId::from_u128(9), ..label },
            Label { template: Uuid::from_u128(9), ..label },
            Label { embedder: "f", ..label },
        ];
        assert!(others.iter().all(|other| vault.unseal(*other, &sealed).is_err()));
        let again = Vault::open(&folder.path().join("key")).expect("opens");
        assert_eq!(again.unseal(label, &sealed).expect("opens").as_slice(), b"numbers");
        let foreign = Vault::open(&folder.path().join("other")).expect("opens");
        assert!(foreign.unseal(label, &sealed).is_err());
        assert_ne!(foreign.key_id(), vault.key_id());
    }
}
