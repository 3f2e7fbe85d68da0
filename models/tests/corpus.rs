//! What fuzzing keeps (fuzz/README.md): each file is taken or refused, and nothing else happens.

use std::path::Path;

use models::{Frame, Manifest, Role};

const ROLES: [Role; 6] =
    [Role::Detector, Role::DetectorNear, Role::Mesh, Role::Embedder, Role::EmbedderSecond, Role::Liveness];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = std::fs::read_dir(folder).expect("a corpus");
    files.map(|file| std::fs::read(file.expect("a file").path()).expect("bytes")).collect()
}

#[test]
fn photos_are_decoded_or_refused() {
    let photos = corpus("photo");
    let decoded = photos.iter().filter(|bytes| Frame::decode(bytes).is_ok()).count();
    assert!(decoded > 5 && decoded < photos.len(), "{decoded}");
}

#[test]
fn manifests_are_taken_or_refused() {
    let texts: Vec<String> =
        corpus("manifest").iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
    for role in ROLES {
        assert!(texts.iter().any(|text| Manifest::parse(text, role).is_ok()), "{role:?}");
        assert!(texts.iter().any(|text| Manifest::parse(text, role).is_err()), "{role:?}");
    }
}
