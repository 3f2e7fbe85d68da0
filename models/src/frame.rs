//! A picture in memory: packed RGB, with the time at which it was seen.

use std::io::Cursor;
use std::time::Duration;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::error::{Error, Result};
use crate::format::Format;
use crate::geometry::Rect;

/// The longest side, in pixels, that a photo may have: what large phones deliver, and a bound on memory.
pub const MAX_SIDE: u32 = 12_000;
/// The most memory, in bytes, that a decoded photo may take: 108 megapixels in RGB.
const MAX_DECODE_BYTES: u64 = 320 << 20;

/// Packed 8-bit RGB, row after row without padding.
#[derive(Clone)]
pub struct Frame {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
    /// When the frame was taken, since its camera was opened.
    pub at: Duration,
}

impl Frame {
    /// Wraps `rgb`, which must hold exactly `width * height * 3` bytes.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>, at: Duration) -> Result<Self> {
        if width == 0 || height == 0 || rgb.len() != width * height * 3 {
            return Err(Error::Picture(format!("{} bytes for {width}x{height} pixels", rgb.len())));
        }
        Ok(Self { width, height, rgb, at })
    }

    /// Decodes a JPEG or PNG, turned upright as its EXIF orientation says.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        // Another crate of the program may have taught `image` more formats than these two.
        let format = match Format::of(bytes)? {
            Format::Jpeg => ImageFormat::Jpeg,
            Format::Png => ImageFormat::Png,
        };
        // The JPEG decoder panics on some damage (zune-image issue 409; fuzzing found it in a camera's frames).
        let decoded = std::panic::catch_unwind(|| Self::decode_image(bytes, format));
        let decoded = decoded.map_err(|_| Error::Picture("so damaged that the decoder gave up".into()))?;
        let image = decoded.map_err(|e| Error::Picture(e.to_string()))?;
        let rgb = image.into_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        Self::new(width, height, rgb.into_raw(), Duration::ZERO)
    }

    /// The picture turned to the right by a quarter.
    #[must_use]
    pub fn turned(&self) -> Self {
        let mut rgb = Vec::with_capacity(self.rgb.len());
        for x in 0..self.width {
            for y in (0..self.height).rev() {
                let at = (y * self.width + x) * 3;
                rgb.extend_from_slice(&self.rgb[at..at + 3]);
            }
        }
        Self { width: self.height, height: self.width, rgb, at: self.at }
    }

    fn decode_image(bytes: &[u8], format: ImageFormat) -> image::ImageResult<DynamicImage> {
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_DECODE_BYTES);
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder()?;
        // A decoder counts what it needs itself, but not the picture that it fills.
        limits.reserve(decoder.total_bytes())?;
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok(image)
    }

    /// Pixels a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Whether all of a box lies inside.
    pub fn holds(&self, part: &Rect) -> bool {
        part.x0 >= 0.0 && part.y0 >= 0.0 && part.x1 <= self.width as f32 && part.y1 <= self.height as f32
    }

    /// The pixels.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The memory, to be used again.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    /// The pixels, to draw on.
    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;

    use super::*;

    #[test]
    fn a_frame_must_hold_its_pixels() {
        assert!(Frame::new(2, 2, vec![0; 12], Duration::ZERO).is_ok());
        assert!(Frame::new(2, 2, vec![0; 11], Duration::ZERO).is_err());
        assert!(Frame::new(0, 2, vec![], Duration::ZERO).is_err());
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(matches!(Frame::decode(b"no picture"), Err(Error::Picture(_))));
        assert!(matches!(Frame::decode(b""), Err(Error::Picture(_))));
    }

    #[test]
    fn a_quarter_turn_takes_the_upper_left_to_the_upper_right() {
        let pixels: Vec<u8> = (0..6).flat_map(|value| [value; 3]).collect();
        let turned = Frame::new(3, 2, pixels.clone(), Duration::ZERO).expect("a frame").turned();
        assert_eq!((turned.width(), turned.height()), (2, 3));
        let values: Vec<u8> = turned.rgb().iter().step_by(3).copied().collect();
        assert_eq!(values, [3, 0, 4, 1, 5, 2]);
        assert_eq!(turned.turned().turned().turned().rgb(), pixels);
    }

    #[test]
    fn other_formats_are_refused_whatever_the_decoder_knows() {
        let gif = b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
        assert!(matches!(Frame::decode(gif), Err(Error::Picture(_))));
    }

    #[test]
    fn a_small_file_may_not_unfold_into_much_memory() {
        let mut bytes = Vec::new();
        image::RgbImage::new(8, 8).write_with_encoder(JpegEncoder::new(&mut bytes)).expect("encodes");
        assert!(Frame::decode(&bytes).is_ok());
        let start = bytes.windows(2).position(|two| two == [0xFF, 0xC0]).expect("a start of frame");
        let sides = [12_000_u16.to_be_bytes(), 12_000_u16.to_be_bytes()].concat();
        bytes[start + 5..start + 9].copy_from_slice(&sides);
        let error = Frame::decode(&bytes).err().expect("refused").to_string();
        assert!(error.to_lowercase().contains("memory"), "{error}");
    }
}
