//! Signatures: every message travels as `Signed`, whatever broker carries it.
//!
//! Terminals sign with the P-256 key of their certificate, the hub with an Ed25519 key that
//! terminals are given together with the certificate of its authority.

use prost::Message;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    UnparsedPublicKey, VerificationAlgorithm,
};

use crate::{DeviceId, Signed, Topic};

/// In front of what is signed, so that no signature made for something else fits.
const CONTEXT: &[u8] = b"rollcall 1\0";
/// What stands in front of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands in front of an uncompressed P-256 point in a `SubjectPublicKeyInfo` (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Why a message or a key is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// It is no `Signed`.
    #[error("it is not a signed message")]
    Unreadable,
    /// Somebody else made the signature, or it was made for another topic, or the body was changed.
    #[error("its signature is wrong")]
    Wrong,
    /// A key of another kind, or none.
    #[error("not a key of the right kind")]
    Key,
}

/// Whoever signs: a terminal or the hub.
pub enum Signer {
    /// A terminal, with the key of its certificate.
    Terminal(EcdsaKeyPair, SystemRandom),
    /// The hub.
    Hub(Ed25519KeyPair),
}

impl Signer {
    /// A terminal's key (PKCS #8, P-256).
    pub fn terminal(pkcs8: &[u8]) -> Result<Self, Unsigned> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &random);
        Ok(Self::Terminal(key.map_err(|_| Unsigned::Key)?, random))
    }

    /// The hub's key (PKCS #8, Ed25519).
    pub fn hub(pkcs8: &[u8]) -> Result<Self, Unsigned> {
        Ok(Self::Hub(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| Unsigned::Key)?))
    }

    /// Whom its signatures are verified with.
    pub fn author(&self) -> Author {
        match self {
            Self::Terminal(key, _) => Author::Terminal(key.public_key().as_ref().to_vec()),
            Self::Hub(key) => Author::Hub(key.public_key().as_ref().to_vec()),
        }
    }

    /// Signs a message for a terminal's topic and encodes both.
    pub fn sign(&self, topic: Topic, device: &DeviceId, body: Vec<u8>) -> Vec<u8> {
        let text = text(topic, device, &body);
        let signature = match self {
            // Fails only where the system has no randomness; an empty signature convinces nobody.
            Self::Terminal(key, random) => {
                key.sign(random, &text).map_or_else(|_| Vec::new(), |signature| signature.as_ref().to_vec())
            }
            Self::Hub(key) => key.sign(&text).as_ref().to_vec(),
        };
        Signed { body, signature }.encode_to_vec()
    }
}

/// Whose signature is expected, by the public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// A terminal: an uncompressed P-256 point, 65 bytes.
    Terminal(Vec<u8>),
    /// The hub: an Ed25519 key, 32 bytes.
    Hub(Vec<u8>),
}

impl Author {
    /// A terminal's public key from its `SubjectPublicKeyInfo`.
    pub fn terminal(spki: &[u8]) -> Result<Self, Unsigned> {
        Ok(Self::Terminal(
            spki.strip_prefix(&P256_SPKI).filter(|point| point.len() == 65).ok_or(Unsigned::Key)?.to_vec(),
        ))
    }

    /// The hub's public key from its `SubjectPublicKeyInfo`.
    pub fn hub(spki: &[u8]) -> Result<Self, Unsigned> {
        Ok(Self::Hub(
            spki.strip_prefix(&ED25519_SPKI).filter(|key| key.len() == 32).ok_or(Unsigned::Key)?.to_vec(),
        ))
    }

    /// The public key's bytes.
    pub fn bytes(&self) -> &[u8] {
        let (Self::Terminal(bytes) | Self::Hub(bytes)) = self;
        bytes
    }

    /// The body of a message that this author signed for a terminal's topic.
    pub fn verify(&self, topic: Topic, device: &DeviceId, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        let Signed { body, signature } = Signed::decode(message).map_err(|_| Unsigned::Unreadable)?;
        let algorithm: &dyn VerificationAlgorithm = match self {
            Self::Terminal(_) => &ECDSA_P256_SHA256_ASN1,
            Self::Hub(_) => &ED25519,
        };
        let key = UnparsedPublicKey::new(algorithm, self.bytes());
        key.verify(&text(topic, device, &body), &signature).map_err(|_| Unsigned::Wrong)?;
        Ok(body)
    }
}

fn text(topic: Topic, device: &DeviceId, body: &[u8]) -> Vec<u8> {
    [CONTEXT, topic.of(device).as_bytes(), b"\0", body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(byte: u8) -> DeviceId {
        DeviceId::from_random([byte; 16])
    }

    fn signers() -> [Signer; 2] {
        let random = SystemRandom::new();
        let terminal = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("key");
        let hub = Ed25519KeyPair::generate_pkcs8(&random).expect("key");
        [Signer::terminal(terminal.as_ref()).expect("key"), Signer::hub(hub.as_ref()).expect("key")]
    }

    #[test]
    fn a_signature_counts_for_its_author_its_topic_and_its_body_alone() {
        let [terminal, hub] = signers();
        for (signer, other) in [(&terminal, &hub), (&hub, &terminal)] {
            let message = signer.sign(Topic::Receipt, &device(1), b"body".to_vec());
            let author = signer.author();
            assert_eq!(author.verify(Topic::Receipt, &device(1), &message), Ok(b"body".to_vec()));
            assert_eq!(author.verify(Topic::Gallery, &device(1), &message), Err(Unsigned::Wrong));
            assert_eq!(author.verify(Topic::Receipt, &device(2), &message), Err(Unsigned::Wrong));
            assert_eq!(other.author().verify(Topic::Receipt, &device(1), &message), Err(Unsigned::Wrong));
            for (at, _) in message.iter().enumerate() {
                let mut changed = message.clone();
                changed[at] ^= 1;
                assert!(author.verify(Topic::Receipt, &device(1), &changed).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn keys_of_another_kind_are_refused() {
        assert_eq!(Signer::terminal(b"").err(), Some(Unsigned::Key));
        assert_eq!(Signer::hub(&[0; 40]).err(), Some(Unsigned::Key));
        assert_eq!(Author::terminal(&ED25519_SPKI), Err(Unsigned::Key));
        assert_eq!(Author::hub(&[&ED25519_SPKI[..], &[0; 31]].concat()), Err(Unsigned::Key));
    }
}
