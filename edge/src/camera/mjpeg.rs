//! Decodes frames of motion JPEG.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, bail, ensure};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The Huffman tables of ITU T.81, annex K.3, as JPEG segments. Cameras leave them out of motion JPEG.
const STANDARD_TABLES: &[u8] = include_bytes!("huffman.bin");
const START: [u8; 2] = [0xFF, 0xD8];
const HUFFMAN: u8 = 0xC4;
const SCAN: u8 = 0xDA;

/// Pixels a side of a frame.
const SIDES: RangeInclusive<usize> = 64..=4096;

/// Decodes to packed RGB, replacing the contents of `rgb`. The frame must have this size.
pub fn decode(jpeg: &[u8], width: usize, height: usize, rgb: &mut Vec<u8>) -> Result<()> {
    decode_fitting(jpeg, |size| size == (width, height), rgb).map(drop)
}

/// Decodes a frame of any size, which is returned.
pub fn decode_any(jpeg: &[u8], rgb: &mut Vec<u8>) -> Result<(usize, usize)> {
    decode_fitting(jpeg, |(width, height)| SIDES.contains(&width) && SIDES.contains(&height), rgb)
}

fn decode_fitting(
    jpeg: &[u8],
    fits: impl Fn((usize, usize)) -> bool,
    rgb: &mut Vec<u8>,
) -> Result<(usize, usize)> {
    ensure!(jpeg.starts_with(&START), "not a JPEG");
    let jpeg = with_tables(jpeg);
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(*SIDES.end())
        .set_max_height(*SIDES.end());
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg.as_ref()), options);
    let damaged = |e| anyhow::anyhow!("damaged frame: {e:?}");
    // The decoder panics on some damage (found by fuzzing; zune-image issues 361 and 409). Only
    // its own state and the pixels may be inconsistent, and the next frame overwrites those.
    let decoding = AssertUnwindSafe(|| decode_headed(&mut decoder, fits, rgb, damaged));
    catch_unwind(decoding).unwrap_or_else(|_| bail!("frame so damaged that the decoder panicked"))
}

fn decode_headed(
    decoder: &mut JpegDecoder<ZCursor<&[u8]>>,
    fits: impl Fn((usize, usize)) -> bool,
    rgb: &mut Vec<u8>,
    damaged: impl Fn(DecodeErrors) -> anyhow::Error,
) -> Result<(usize, usize)> {
    // The size is checked first: nothing is allocated for a frame of another size.
    decoder.decode_headers().map_err(&damaged)?;
    let (width, height) = decoder.dimensions().context("frame without a size")?;
    ensure!(fits((width, height)), "frame of unexpected size {width}x{height}");
    rgb.clear(); // a damaged frame must not keep pixels of another
    rgb.resize(width * height * 3, 0);
    decoder.decode_into(rgb).map_err(damaged)?;
    Ok((width, height))
}

fn with_tables(jpeg: &[u8]) -> Cow<'_, [u8]> {
    if has_tables(jpeg) {
        return Cow::Borrowed(jpeg);
    }
    Cow::Owned([&START, STANDARD_TABLES, &jpeg[START.len()..]].concat())
}

/// Whether a Huffman segment comes before the first scan.
fn has_tables(jpeg: &[u8]) -> bool {
    let mut rest = &jpeg[START.len()..];
    while let [0xFF, kind, high, low, ..] = *rest {
        match kind {
            HUFFMAN => return true,
            SCAN => return false,
            _ => {}
        }
        let length = 2 + usize::from(u16::from_be_bytes([high, low]));
        let Some(next) = rest.get(length..) else { return false };
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(jpeg: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
        let mut rgb = vec![7; 5]; // left over from another frame
        super::decode(jpeg, width, height, &mut rgb).map(|()| rgb)
    }

    fn jpeg() -> Vec<u8> {
        let picture = image::RgbImage::from_fn(32, 16, |x, y| image::Rgb([x as u8 * 7, y as u8 * 11, 90]));
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
        picture.write_with_encoder(encoder).expect("encodes");
        bytes
    }

    /// As a camera sends it: without the Huffman segments.
    fn stripped(jpeg: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (jpeg[..2].to_vec(), 2);
        while jpeg[at + 1] != SCAN {
            let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
            if jpeg[at + 1] != HUFFMAN {
                out.extend_from_slice(&jpeg[at..end]);
            }
            at = end;
        }
        out.extend_from_slice(&jpeg[at..]);
        out
    }

    #[test]
    fn a_frame_without_tables_decodes_to_the_same_pixels() {
        let whole = jpeg();
        let bare = stripped(&whole);
        assert!(has_tables(&whole) && !has_tables(&bare));
        assert_eq!(decode(&bare, 32, 16).expect("decodes"), decode(&whole, 32, 16).expect("decodes"));
    }

    #[test]
    fn wrong_sizes_and_damage_are_errors() {
        assert!(decode(&jpeg(), 16, 16).is_err());
        assert!(decode(&jpeg()[..60], 32, 16).is_err());
        assert!(decode(b"\xFF\xD8\xFF\xC0\xFF\xFF", 32, 16).is_err());
        assert!(decode(b"", 32, 16).is_err());
    }
}
