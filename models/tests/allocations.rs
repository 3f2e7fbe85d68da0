//! A terminal runs for months: frames take no memory of their own once it has seen a few.

use std::path::Path;
use std::time::Duration;

use models::photo::embed_photo;
use models::{Eyes, Frame, Gallery, Pipeline, Template};
use uuid::Uuid;

/// Frames until everything has the memory that it needs, and frames that are then counted.
const WARM: u64 = 60;
const COUNTED: u64 = 60;

fn photo() -> Frame {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/photos/obama2.jpg");
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|_| panic!("{} is missing: run deploy/photos.sh", path.display()));
    Frame::decode(&bytes).expect("a photo")
}

/// Somebody at the door: a face 140 pixels wide. (One that is wider than 256 is averaged before it is cut
/// out, by a library that takes memory for its weights.)
fn at_the_door(eyes: &mut Eyes) -> Frame {
    const FACE: f32 = 140.0;
    let photo = photo();
    let face = eyes.detect(&photo).expect("looks")[0].face;
    let (width, height) = (photo.width() as u32, photo.height() as u32);
    let scale = FACE / face.width();
    let picture = image::RgbImage::from_raw(width, height, photo.into_rgb()).expect("a picture");
    let small = |side: u32| (side as f32 * scale) as u32;
    let picture = image::imageops::thumbnail(&picture, small(width), small(height));
    let mut frame = image::RgbImage::from_pixel(640, 480, image::Rgb([127; 3]));
    let place = |at: f32, middle: f32| (middle - at * scale) as i64;
    let middle = face.centre();
    image::imageops::overlay(&mut frame, &picture, place(middle.x, 320.0), place(middle.y, 240.0));
    Frame::new(640, 480, frame.into_raw(), Duration::ZERO).expect("a frame")
}

/// Allocations of each counted frame, by whether its face was looked at.
fn count(pipeline: &mut Pipeline, gallery: &Gallery, mut frame: Frame) -> Vec<(bool, u64)> {
    let mut counts = Vec::new();
    for n in 0..WARM + COUNTED {
        frame.at = Duration::from_millis(66 * n);
        let mut looked = false;
        let info = allocation_counter::measure(|| {
            let sightings = pipeline.observe(&frame, gallery).expect("observes");
            looked = sightings.iter().any(|sighting| sighting.looked);
        });
        if n >= WARM {
            counts.push((looked, info.count_total));
        }
    }
    counts
}

#[test]
fn an_empty_scene_and_a_face_that_is_followed_take_no_memory() {
    let mut eyes = Eyes::open(None, 1).expect("eyes");
    let template = Template::mean([&embed_photo(&mut eyes, &photo()).expect("a face")]).expect("a mean");
    let mut gallery = Gallery::default();
    gallery.put(Uuid::from_u128(7), &template);
    let visitor = at_the_door(&mut eyes);
    let mut pipeline = Pipeline::new(eyes, 3);
    let grey = Frame::new(640, 480, vec![127; 640 * 480 * 3], Duration::ZERO).expect("a frame");
    // The detector, which looks now and again, sorts what it finds.
    let quiet = |counts: Vec<(bool, u64)>| {
        let followed: Vec<u64> =
            counts.iter().filter(|(looked, _)| !looked).map(|(_, count)| *count).collect();
        let without = followed.iter().filter(|count| **count == 0).count();
        (without, followed.len(), followed)
    };
    for frame in [grey, visitor] {
        let (without, frames, counts) = quiet(count(&mut pipeline, &gallery, frame));
        assert!(frames >= COUNTED as usize / 2, "{frames}");
        assert!(without * 10 >= frames * 9, "{without} of {frames}: {counts:?}");
    }
}
