//! Encryption for one terminal: to the key of one of its hellos (HPKE, RFC 9180).
//!
//! The key is drawn for the hello and lives in the terminal's memory: whoever records everything
//! and steals the terminal later can't read what it was sent.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal};

use crate::{DeviceId, Sealed, Topic};

type Private = <X25519HkdfSha256 as Kem>::PrivateKey;
type Public = <X25519HkdfSha256 as Kem>::PublicKey;
type Encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey;

/// Sealed for another key, terminal or topic, or altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not sealed to this terminal's key")]
pub struct NotOurs;

/// A key of one hello, with its secret.
pub struct HelloKey {
    private: Private,
    public: Vec<u8>,
}

impl HelloKey {
    /// Draws a key pair.
    pub fn draw() -> Self {
        let (private, public) = X25519HkdfSha256::gen_keypair();
        Self { private, public: public.to_bytes().to_vec() }
    }

    /// What the hello carries: 32 bytes.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Opens what was sealed to this key for a terminal's topic.
    pub fn open(&self, topic: Topic, device: &DeviceId, sealed: &Sealed) -> Result<Vec<u8>, NotOurs> {
        if sealed.key != self.public {
            return Err(NotOurs);
        }
        let encapsulated = Encapsulated::from_bytes(&sealed.encapsulated).map_err(|_| NotOurs)?;
        single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &encapsulated,
            topic.of(device).as_bytes(),
            &sealed.ciphertext,
            b"",
        )
        .map_err(|_| NotOurs)
    }
}

/// Seals to the key of a hello. An error means that the key is invalid.
pub fn seal(topic: Topic, device: &DeviceId, key: &[u8], plain: &[u8]) -> Result<Sealed, NotOurs> {
    let public = Public::from_bytes(key).map_err(|_| NotOurs)?;
    let (encapsulated, ciphertext) = single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &public,
        topic.of(device).as_bytes(),
        plain,
        b"",
    )
    .map_err(|_| NotOurs)?;
    Ok(Sealed { key: key.to_vec(), encapsulated: encapsulated.to_bytes().to_vec(), ciphertext })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_that_it_was_sealed_to_opens_it() {
        let (device, other) = (DeviceId::from_random([1; 16]), DeviceId::from_random([2; 16]));
        let (key, other_key) = (HelloKey::draw(), HelloKey::draw());
        let sealed = seal(Topic::Gallery, &device, key.public(), b"a face").expect("seals");
        assert!(!sealed.ciphertext.windows(6).any(|bytes| bytes == b"a face"));
        assert_eq!(key.open(Topic::Gallery, &device, &sealed), Ok(b"a face".to_vec()));
        assert_eq!(key.open(Topic::Answer, &device, &sealed), Err(NotOurs));
        assert_eq!(key.open(Topic::Gallery, &other, &sealed), Err(NotOurs));
        assert_eq!(other_key.open(Topic::Gallery, &device, &sealed), Err(NotOurs));
        let stolen = Sealed { key: other_key.public().to_vec(), ..sealed };
        assert_eq!(other_key.open(Topic::Gallery, &device, &stolen), Err(NotOurs));
        assert!(seal(Topic::Gallery, &device, b"short", b"").is_err());
        assert!(seal(Topic::Gallery, &device, &[0; 32], b"").is_err(), "a key of low order");
    }
}
