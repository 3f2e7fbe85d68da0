//! A photo that somebody uploads.
#![no_main]

use std::io::Cursor;

use image::ImageReader;
use libfuzzer_sys::fuzz_target;
use models::Frame;

/// Pixels of the largest picture that is decoded here. Larger ones are the same again, only slower:
/// that too large ones are refused has a test of its own.
const LARGEST: u64 = 1 << 20;

fuzz_target!(
    // A panic that is caught, as that of the decoder, is no crash; one that is not still ends the run.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        let size = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map(ImageReader::into_dimensions);
        if let Ok(Ok((width, height))) = size
            && u64::from(width) * u64::from(height) > LARGEST
        {
            return;
        }
        if let Ok(frame) = Frame::decode(bytes) {
            assert_eq!(frame.rgb().len(), frame.width() * frame.height() * 3);
        }
    }
);
