//! The real models on real photos.

use std::path::{Path, PathBuf};
use std::time::Duration;

use models::geometry::{Point, Similarity};
use models::photo::{PhotoError, embed_photo};
use models::resample::Sampler;
use models::{Embedding, Eyes, Flaw, Frame, Gallery, Look, Pipeline, Template};
use uuid::Uuid;

fn photo(name: &str) -> Frame {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/photos").join(name);
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|_| panic!("{} is missing: run deploy/photos.sh", path.display()));
    Frame::decode(&bytes).expect("a photo")
}

fn seen_at(mut frame: Frame, at: Duration) -> Frame {
    frame.at = at;
    frame
}

fn embed(eyes: &mut Eyes, name: &str) -> Embedding {
    embed_photo(eyes, &photo(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_same_person_is_near_and_others_are_far() {
    let mut eyes = Eyes::open(None, 1).expect("eyes");
    let names = ["obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "astronaut.png"];
    let faces = names.map(|name| embed(&mut eyes, name));
    for (index, one) in faces.iter().enumerate() {
        for (other_index, other) in faces.iter().enumerate().skip(index + 1) {
            let distance = one.distance(other);
            let same = index < 3 && other_index < 3;
            assert!(
                if same { distance < 0.35 } else { distance > 0.5 },
                "{} {}: {distance}",
                names[index],
                names[other_index]
            );
        }
    }
}

#[test]
fn a_pipeline_recognises_agrees_and_parts() {
    let mut eyes = Eyes::open(None, 1).expect("eyes");
    let template = Template::mean(&[embed(&mut eyes, "obama.jpg")]).expect("one photo");
    let (person, mut gallery) = (Uuid::from_u128(7), Gallery::default());
    gallery.put(person, &template);
    let mut pipeline = Pipeline::new(eyes, 3);
    for (number, frame) in std::iter::repeat_n(photo("obama2.jpg"), 3).enumerate() {
        let frame = seen_at(frame, Duration::from_millis(100 * number as u64));
        let sightings = pipeline.observe(&frame, &gallery).expect("observes");
        assert_eq!(sightings.len(), 1);
        assert_eq!(sightings[0].recognised().map(|c| c.person), Some(person));
        assert_eq!(sightings[0].agreement, number as i32 + 1);
    }
    let stranger = seen_at(photo("astronaut.png"), Duration::from_secs(5));
    let sightings = pipeline.observe(&stranger, &gallery).expect("observes");
    assert!(sightings.iter().all(|s| s.recognised().is_none() && s.agreement == 0));
    assert_eq!(pipeline.departures().iter().map(|d| d.frames).collect::<Vec<_>>(), [3]);
    pipeline.finish();
    assert_eq!(pipeline.departures().len(), 1);
}

/// A face fades until its mesh alone is still to be seen, as in a stain on the wall.
#[test]
fn what_is_followed_and_never_found_is_no_face() {
    let mut pipeline = Pipeline::new(Eyes::open(None, 1).expect("eyes"), 3);
    let mut watch = |n: u32| {
        let contrast = (1.0 - n as f32 / 40.0).max(0.025);
        let frame = changed("obama.jpg", |value| 128.0 + (value - 128.0) * contrast);
        let frame = seen_at(frame, Duration::from_millis(66) * n);
        pipeline.observe(&frame, &Gallery::default()).expect("observes").len()
    };
    assert!((0..60).all(|n| watch(n) == 1), "it is followed for a while");
    assert_eq!((60..160).map(&mut watch).last(), Some(0));
    let left: Vec<u32> = pipeline.departures().iter().map(|departure| departure.frames).collect();
    assert_eq!(left.last(), Some(&0), "nobody was there: {left:?}");
}

#[test]
fn an_empty_picture_shows_nobody() {
    let mut eyes = Eyes::open(None, 1).expect("eyes");
    let grey = Frame::new(640, 480, vec![127; 640 * 480 * 3], Duration::ZERO).expect("a frame");
    assert!(eyes.detect(&grey).expect("detects").is_empty());
    assert!(matches!(embed_photo(&mut eyes, &grey), Err(PhotoError::NoFace)));
}

#[test]
fn a_photo_is_enrolled_the_same_whichever_way_up_it_lies() {
    let mut eyes = Eyes::open(None, 1).expect("eyes");
    for name in ["obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "astronaut.png"] {
        let mut photo = photo(name);
        let upright = embed_photo(&mut eyes, &photo).expect("a face");
        for angle in [90, 180, 270] {
            photo = photo.turned();
            let turned =
                embed_photo(&mut eyes, &photo).unwrap_or_else(|error| panic!("{name} {angle}: {error}"));
            let distance = turned.distance(&upright);
            assert!(distance < 0.05, "{name} turned by {angle}: {distance}");
        }
    }
}

#[test]
fn a_tilted_photo_is_enrolled_as_an_upright_one() {
    let mut eyes = Eyes::open(None, 1).expect("eyes");
    let photo = photo("astronaut.png");
    let upright = embed_photo(&mut eyes, &photo).expect("a face");
    let middle = Point { x: photo.width() as f32 / 2.0, y: photo.height() as f32 / 2.0 };
    for degrees in [-40.0_f32, -20.0, 30.0, 45.0, 120.0, 240.0] {
        let onto = Similarity::centred(middle, degrees.to_radians(), 1.0, 720.0);
        let mut pixels = Vec::new();
        Sampler::default().cut(&photo, &onto, 720, &mut pixels).expect("cut");
        let tilted = Frame::new(720, 720, pixels, Duration::ZERO).expect("a frame");
        let face = embed_photo(&mut eyes, &tilted).unwrap_or_else(|error| panic!("{degrees}: {error}"));
        assert!(face.distance(&upright) < 0.25, "{degrees}: {}", face.distance(&upright));
    }
}

#[test]
fn a_face_that_might_be_upside_down_as_well_is_refused() {
    let mut eyes = Eyes::open(None, 1).expect("eyes");
    // The same picture twice, once upside down: nobody can say which of the two is meant.
    let upright = photo("obama.jpg");
    let turned = upright.turned().turned();
    let pixels = [upright.rgb(), turned.rgb()].concat();
    let both = Frame::new(upright.width(), upright.height() * 2, pixels, Duration::ZERO).expect("a frame");
    assert!(matches!(embed_photo(&mut eyes, &both), Err(PhotoError::Turned | PhotoError::SeveralFaces(_))));
}

/// A photo with each value changed.
fn changed(name: &str, change: impl Fn(f32) -> f32) -> Frame {
    let mut photo = photo(name);
    for value in photo.rgb_mut() {
        *value = change(f32::from(*value)).clamp(0.0, 255.0) as u8;
    }
    photo
}

/// The photo out of focus: by a share of the face's width.
fn blurred(eyes: &mut Eyes, name: &str, share: f32) -> Frame {
    let photo = photo(name);
    let face = eyes.detect(&photo).expect("looks")[0].face;
    let (width, height) = (photo.width() as u32, photo.height() as u32);
    let picture = image::RgbImage::from_raw(width, height, photo.rgb().to_vec()).expect("a picture");
    let picture = image::imageops::fast_blur(&picture, share * face.width());
    Frame::new(photo.width(), photo.height(), picture.into_raw(), photo.at).expect("a frame")
}

/// A mask over mouth and chin.
fn masked(eyes: &mut Eyes, name: &str) -> Frame {
    let mut photo = photo(name);
    let face = eyes.detect(&photo).expect("looks")[0];
    let mesh = eyes.landmarks(&photo, &face).expect("looks").expect("a face");
    let (left, right, nose, chin) = (mesh.point(132), mesh.point(361), mesh.point(2), mesh.point(152));
    let width = photo.width();
    for (at, pixel) in photo.rgb_mut().chunks_exact_mut(3).enumerate() {
        let (x, y) = ((at % width) as f32, (at / width) as f32);
        if x > left.x && x < right.x && y > nose.y && y < chin.y {
            pixel.copy_from_slice(&[150, 190, 220]);
        }
    }
    photo
}

#[test]
fn a_poor_photo_is_refused_with_the_reason() {
    let mut eyes = Eyes::open(None, 1).expect("eyes");
    let name = "obama2.jpg";
    assert!(embed_photo(&mut eyes, &photo(name)).is_ok());
    let poor = [
        (changed(name, |value| value * 0.15), Flaw::Dark),
        (changed(name, |value| value * 2.2 + 60.0), Flaw::Bright),
        (masked(&mut eyes, name), Flaw::Covered),
        (blurred(&mut eyes, name, 0.03), Flaw::Blurred),
    ];
    for (photo, expected) in poor {
        match embed_photo(&mut eyes, &photo) {
            Err(PhotoError::Poor(flaw)) => assert_eq!(flaw, expected),
            Err(error) => panic!("{expected:?}: {error}"),
            Ok(_) => panic!("{expected:?} was taken"),
        }
    }
}

/// A folder with some of this release's models.
fn folder_with(names: &[&str]) -> tempfile::TempDir {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let folder = tempfile::tempdir().expect("folder");
    for name in names {
        for ending in ["toml", "tflite"] {
            let file = format!("{name}.{ending}");
            std::fs::copy(data.join(&file), folder.path().join(&file)).expect("copied");
        }
    }
    folder
}

const ONE_EMBEDDER: [&str; 4] = ["detector", "detector-near", "mesh", "embedder"];

#[test]
fn a_folder_may_do_without_the_second_embedder_and_is_another_one_then() {
    let folder = folder_with(&ONE_EMBEDDER);
    let (mut one, mut both) =
        (Eyes::open(Some(folder.path()), 1).expect("eyes"), Eyes::open(None, 1).expect("eyes"));
    let (face, whole) = (embed(&mut one, "obama.jpg"), embed(&mut both, "obama.jpg"));
    assert_eq!((one.embedder().dimensions(), face.values().len()), (128, 128));
    assert_eq!((both.embedder().dimensions(), whole.values().len()), (256, 256));
    assert_ne!(one.embedder().sha256(), both.embedder().sha256());
    assert_eq!(both.embedder().sha256().len(), 64);
}

/// How far the first frame of one photo is from the template of another, with a folder of models.
fn first_distance(folder: Option<&Path>) -> f32 {
    let mut eyes = Eyes::open(folder, 1).expect("eyes");
    let template = Template::mean(&[embed(&mut eyes, "obama.jpg")]).expect("one photo");
    let gallery = Gallery::of([(Uuid::max(), template)]);
    let mut pipeline = Pipeline::new(eyes, 3);
    let sightings = pipeline.observe(&photo("obama2.jpg"), &gallery).expect("observes");
    sightings[0].candidate.expect("somebody").distance
}

#[test]
fn the_second_embedder_is_asked_where_the_first_is_unsure() {
    let folder = folder_with(&[&ONE_EMBEDDER[..], &["embedder-second"]].concat());
    let file = folder.path().join("embedder-second.toml");
    let manifest = std::fs::read_to_string(&file).expect("a manifest");
    std::fs::write(&file, manifest.replace("unsure = 0.055", "unsure = 2.0")).expect("written");
    let asked = first_distance(Some(folder.path()));

    let mut eyes = Eyes::open(None, 1).expect("eyes");
    let template = embed(&mut eyes, "obama.jpg");
    let frame = photo("obama2.jpg");
    let face = eyes.detect(&frame).expect("looks")[0];
    let mesh = eyes.landmarks(&frame, &face).expect("looks").expect("a face");
    let first = eyes.embed(&frame, &mesh, Look::Glance).expect("looks").expect("a face");
    let second = eyes.ask_second(&frame, &mesh).expect("looks").expect("a face");
    let whole = eyes.embedder().join(&first, &second);
    assert!((asked - whole.distance(&template)).abs() < 0.02, "{asked} {}", whole.distance(&template));

    let alone = first_distance(None);
    let templates = folder_with(&ONE_EMBEDDER);
    assert!((alone - first_distance(Some(templates.path()))).abs() < 0.02, "the first alone: {alone}");
    assert!((alone - asked).abs() > 0.03, "{alone} {asked}");
}

/// A models folder whose embedder is the mesh model: another input (192 pixels of floats), another
/// normalisation, another template, another length. It embeds badly, but without a line of code.
fn folder_with_another_embedder() -> (tempfile::TempDir, PathBuf) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let folder = folder_with(&ONE_EMBEDDER[..3]);
    let mesh = std::fs::read_to_string(data.join("mesh.toml")).expect("manifest");
    let sha256 = mesh.lines().find(|line| line.starts_with("sha256")).expect("a hash");
    let manifest = format!(
        "role = \"embedder\"\nfile = \"mesh.tflite\"\n{sha256}\nsource = \"a test\"\nlicence = \"Apache-2.0\"\n\
        [input]\nshape = [1, 192, 192, 3]\ntype = \"f32\"\norder = \"bgr\"\n\
        scale = [0.0078125, 0.0078125, 0.0078125]\noffset = [-1.0, -1.0, -1.0]\n\
        [[outputs]]\nname = \"embedding\"\nshape = [1, 1, 1, 1404]\ntype = \"f32\"\n\
        [embedder]\ntemplate = [{{ mesh = 33, at = [60.0, 70.0] }}, {{ mesh = 263, at = [132.0, 70.0] }}]\napart = 0.5\n\
        thresholds = [{{ far = 1e-2, distance = 0.5 }}, {{ far = 1e-4, distance = 0.4 }}]\n\
        [embedder.identification]\npeople = 20\nneighbours = 3\nweight = 0.2\nusual = 0.9\ndistance = 0.3\n\
        margin = 0.01\n"
    );
    std::fs::write(folder.path().join("embedder.toml"), manifest).expect("written");
    let path = folder.path().to_owned();
    (folder, path)
}

#[test]
fn another_embedder_is_a_manifest_away() {
    let (_folder, path) = folder_with_another_embedder();
    let mut eyes = Eyes::open(Some(&path), 1).expect("eyes");
    assert_eq!(eyes.embedder().dimensions(), 1404);
    assert!((eyes.embedder().thresholds().for_gallery(100) - 0.4).abs() < 1e-6);
    let face = embed(&mut eyes, "biden.jpg");
    assert_eq!(face.values().len(), 1404);
    assert!(face.distance(&embed(&mut eyes, "biden.jpg")) < 1e-3);
}

#[test]
fn a_manifest_that_does_not_fit_its_model_is_refused() {
    let (folder, path) = folder_with_another_embedder();
    let file = folder.path().join("embedder.toml");
    let good = std::fs::read_to_string(&file).expect("manifest");
    for (from, to, expected) in [
        ("shape = [1, 192, 192, 3]", "shape = [1, 160, 160, 3]", "the input is"),
        ("shape = [1, 1, 1, 1404]", "shape = [1, 128]", "the output `embedding`"),
        ("role = \"embedder\"", "role = \"mesh\"", "role is"),
        ("far = 1e-4", "far = 1e-1", "thresholds"),
        ("mesh = 33", "mesh = 900", "template"),
        ("neighbours = 3", "neighbours = 20", "neighbours"),
        ("weight = 0.2", "weight = 2.0", "weight"),
        ("order = \"bgr\"", "colour = \"bgr\"", "colour"),
    ] {
        std::fs::write(&file, good.replace(from, to)).expect("written");
        let error =
            Eyes::open(Some(&path), 1).err().unwrap_or_else(|| panic!("{to} was accepted")).to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
}
