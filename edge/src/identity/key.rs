//! The terminal's key and its certificate signing requests.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use proto::DeviceId;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SigningKey,
};

use crate::identity::fs::write_new;

pub fn read_key(file: &Path) -> Result<KeyPair> {
    let pem = zeroize::Zeroizing::new(
        fs::read_to_string(file).with_context(|| format!("cannot read the key {}", file.display()))?,
    );
    KeyPair::from_pem(&pem).with_context(|| format!("{} is not a private key in PEM", file.display()))
}

/// Reads the terminal's key, or creates it.
pub fn key(file: &Path) -> Result<KeyPair> {
    if file.exists() {
        return read_key(file);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    write_new(file, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(key)
}

/// Creates `terminal.key` if it is missing, writes `terminal.csr` and prints its path.
pub fn request(state: &Path) -> Result<()> {
    fs::create_dir_all(state).with_context(|| format!("cannot create {}", state.display()))?;
    let key = key(&state.join("terminal.key"))?;
    let device = device_of(&key)?;
    let file = state.join("terminal.csr");
    fs::write(&file, csr(&key, &device)?).with_context(|| format!("cannot write {}", file.display()))?;
    println!("terminal {device}");
    println!("request  {}", file.display());
    println!("Next: on the hub, run `rollcall-hub terminal sign {} --name \"Front door\"`.", file.display());
    Ok(())
}

/// A terminal's id is the hash of its first key, so it can't be assigned twice.
pub fn device_of(key: &KeyPair) -> Result<DeviceId> {
    let hash = sha256(key.subject_public_key_info().as_slice());
    let first: [u8; 16] = hash[..16].try_into().context("a hash has 32 bytes")?;
    Ok(DeviceId::from_random(first))
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

/// A certificate signing request (PEM).
pub fn csr(key: &impl SigningKey, device: &DeviceId) -> Result<String> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, device.as_str());
    params.distinguished_name.push(DnType::OrganizationName, device.as_str());
    Ok(params.serialize_request(key)?.pem()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn asking_twice_keeps_the_key() {
        let folder = tempfile::tempdir().expect("folder");
        request(folder.path()).expect("first");
        let key = fs::read(folder.path().join("terminal.key")).expect("key");
        request(folder.path()).expect("second");
        assert_eq!(fs::read(folder.path().join("terminal.key")).expect("key"), key);
        let mode = fs::metadata(folder.path().join("terminal.key")).expect("key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
