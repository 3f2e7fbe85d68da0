//! A picture in memory: packed RGB, with the time at which it was seen.

use std::time::Duration;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use crate::error::{Error, Result};

/// The longest side, in pixels, that a photo may have: what large phones deliver, and a bound on memory.
pub const MAX_SIDE: u32 = 12_000;
/// The most memory, in bytes, that decoding one photo may take.
const MAX_DECODE_BYTES: u64 = 256 << 20;

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
        let image = Self::decode_image(bytes).map_err(|e| Error::Picture(e.to_string()))?;
        let rgb = image.into_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        Self::new(width, height, rgb.into_raw(), Duration::ZERO)
    }

    fn decode_image(bytes: &[u8]) -> image::ImageResult<DynamicImage> {
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_DECODE_BYTES);
        let mut reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format()?;
        reader.limits(limits);
        let mut decoder = reader.into_decoder()?;
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

    /// The pixels.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixels, to draw on.
    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }
}

#[cfg(test)]
mod tests {
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
}
