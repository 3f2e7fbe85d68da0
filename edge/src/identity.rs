//! The terminal's key and the request for its certificate. The key never leaves the device.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use proto::DeviceId;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SigningKey,
};

/// Makes `terminal.key` if it is not there, writes `terminal.csr` and prints where.
pub fn request(state: &Path) -> Result<()> {
    fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
    let key_file = state.join("terminal.key");
    let key = if key_file.exists() {
        let pem =
            fs::read_to_string(&key_file).with_context(|| format!("cannot read {}", key_file.display()))?;
        KeyPair::from_pem(&pem).with_context(|| format!("{} holds no key", key_file.display()))?
    } else {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        write_new(&key_file, key.serialize_pem().as_bytes(), 0o600)?;
        key
    };
    let device = device_of(&key)?;
    let file = state.join("terminal.csr");
    fs::write(&file, csr(&key, &device)?).with_context(|| format!("cannot write {}", file.display()))?;
    println!("terminal {device}");
    println!("request  {}", file.display());
    println!("Next: on the hub, run `rollcall-hub terminal sign {} --name \"Front door\"`.", file.display());
    Ok(())
}

/// The terminal is named by its first key: no second terminal can be given the same name.
fn device_of(key: &KeyPair) -> Result<DeviceId> {
    let hash = sha256(key.subject_public_key_info().as_slice());
    let first: [u8; 16] = hash[..16].try_into().context("a hash has 32 bytes")?;
    Ok(DeviceId::from_random(first))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

fn csr(key: &impl SigningKey, device: &DeviceId) -> Result<String> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, device.as_str());
    params.distinguished_name.push(DnType::OrganizationName, device.as_str());
    Ok(params.serialize_request(key)?.pem()?)
}

/// Writes a file that must not be there yet, durably, readable as `mode` says.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let mut write = || {
        file.write_all(bytes)?;
        file.sync_all()?;
        sync_folder(path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a file's name durable: it stands in its folder, which is written by itself.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
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
