//! A model's manifest. One that is accepted must serve what is done with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use models::{Embedding, Gallery, Identifier, Manifest, Role, Rules, Template, Thresholds};
use uuid::Uuid;

const ROLES: [Role; 6] = [
    Role::Detector,
    Role::DetectorNear,
    Role::Mesh,
    Role::Embedder,
    Role::EmbedderSecond,
    Role::Liveness,
];

fuzz_target!(|text: &str| {
    for role in ROLES {
        let Ok(manifest) = Manifest::parse(text, role) else { continue };
        assert!((16..=1024).contains(&manifest.input.side()));
        if matches!(role, Role::Embedder | Role::EmbedderSecond) {
            identify(&manifest);
        }
    }
});

fn identify(manifest: &Manifest) {
    let spec = manifest.embedder.as_ref().expect("checked");
    let identifier = Identifier::new(Rules::new(spec.identification, Thresholds::new(spec.thresholds.clone())));
    let faces =
        [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]].map(|face| Embedding::normalised(&face).expect("a direction"));
    let people = faces.iter().filter_map(|face| Template::mean([face]));
    let gallery = Gallery::of((1..).map(Uuid::from_u128).zip(people));
    let finding = identifier.identify(&faces[0], &gallery).expect("somebody is in the gallery");
    assert!(finding.threshold.is_finite() && finding.candidate.distance.is_finite());
}
