//! Photos held to the lens, people, and a model's score, through the whole pipeline.

use std::path::{Path, PathBuf};

use bench::render::{FRAMES, Kind, Sequence};
use models::liveness::Policy;
use models::{Eyes, Frame, Gallery, Liveness, Pipeline};
use sha2::{Digest, Sha256};

const PHOTOS: [&str; 4] = ["obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png"];

fn photo(name: &str) -> Frame {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/photos").join(name);
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|_| panic!("{} is missing: run deploy/photos.sh", path.display()));
    Frame::decode(&bytes).expect("a photo")
}

/// The liveness after each frame of a sequence.
fn watch(eyes: Eyes, kind: Kind, name: &str, seed: u64, policy: Policy) -> (Eyes, Vec<Liveness>) {
    let (mut eyes, photo) = (eyes, photo(name));
    let face = eyes.detect(&photo).expect("looks")[0];
    let mesh = eyes.landmarks(&photo, &face).expect("looks").expect("a face");
    let mut sequence = Sequence::new(kind, &photo, &mesh, seed);
    let mut pipeline = Pipeline::new(eyes, 3).with_liveness(policy);
    let mut said = Vec::new();
    for n in 0..FRAMES {
        let frame = sequence.frame(n).expect("a frame");
        let sightings = pipeline.observe(&frame, &Gallery::default()).expect("observes");
        for sighting in sightings {
            assert_eq!(sighting.alive, policy.is_met(&sighting.liveness), "{name} {n}");
        }
        said.extend(sightings.first().map(|sighting| sighting.liveness));
    }
    assert!(said.len() > FRAMES / 2, "{name} was followed");
    (pipeline.into_eyes(), said)
}

#[test]
fn people_are_alive_and_their_photos_are_not() {
    let mut eyes = Eyes::open(None, 1).expect("eyes");
    let mut people = 0;
    for (seed, name) in PHOTOS.into_iter().enumerate() {
        for kind in [Kind::Alive, Kind::Print, Kind::Screen] {
            let (back, said) = watch(eyes, kind, name, seed as u64, Policy::Passive);
            eyes = back;
            let alive = said.iter().any(Liveness::is_alive);
            assert!(!alive || kind == Kind::Alive, "{name} {}", kind.name());
            people += usize::from(alive);
        }
    }
    assert!(people >= PHOTOS.len() - 1, "{people} people were seen to be alive");
}

#[test]
fn who_is_asked_turns_their_head_and_a_photo_does_not() {
    let eyes = Eyes::open(None, 1).expect("eyes");
    let (eyes, asked) = watch(eyes, Kind::Asked, "obama.jpg", 1, Policy::Challenge);
    assert!(asked.iter().any(Liveness::has_turned), "{:?}", asked.last());
    let (_, print) = watch(eyes, Kind::Print, "obama.jpg", 1, Policy::Challenge);
    assert!(!print.iter().any(Liveness::has_turned), "{:?}", print.last());
}

/// The models with one more: it takes bright faces for people.
fn with_liveness_model(threshold: f32, class: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let models = std::env::var_os("ROLLCALL_MODELS").expect("ROLLCALL_MODELS");
    for entry in std::fs::read_dir(models).expect("models") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    let model = include_bytes!("data/brightness.tflite");
    std::fs::write(folder.path().join("liveness.tflite"), model).expect("written");
    let manifest = format!(
        r#"
        role = "liveness"
        file = "liveness.tflite"
        sha256 = "{}"
        source = "tests/data/brightness.py"
        licence = "Apache-2.0"
        [input]
        shape = [1, 32, 32, 3]
        type = "f32"
        scale = [0.00392156863, 0.00392156863, 0.00392156863]
        [[outputs]]
        name = "alive"
        shape = [1, 2]
        type = "f32"
        [liveness]
        margin = 1.5
        class = {class}
        logits = true
        threshold = {threshold}
        "#,
        hex::encode(Sha256::digest(model))
    );
    std::fs::write(folder.path().join("liveness.toml"), manifest).expect("written");
    let path = folder.path().to_owned();
    (folder, path)
}

#[test]
fn a_liveness_model_in_the_folder_counts() {
    for (threshold, expected) in [(0.000_1, true), (0.999_9, false)] {
        let (_kept, folder) = with_liveness_model(threshold, 1);
        let eyes = Eyes::open(Some(&folder), 1).expect("eyes");
        let (_, said) = watch(eyes, Kind::Asked, "obama.jpg", 1, Policy::Passive);
        assert_eq!(said.last().and_then(|liveness| liveness.model_accepts), Some(expected));
        assert_eq!(said.iter().any(Liveness::is_alive), expected, "threshold {threshold}");
    }
}

#[test]
fn a_liveness_manifest_with_impossible_numbers_is_refused() {
    for (threshold, class, expected) in [(1.5, 1, "threshold between 0 and 1"), (0.5, 2, "liveness.class")] {
        let (_kept, folder) = with_liveness_model(threshold, class);
        let error = Eyes::open(Some(&folder), 1).err().expect("rejected").to_string();
        assert!(error.contains(expected), "{error}");
    }
}
