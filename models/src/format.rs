//! What a photo's file is, by its first bytes, and whether all of it is there.

use crate::error::{Error, Result};

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
}

impl Format {
    /// The format of a file; an error with the way out where it is another one, or a JPEG that ends early.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let refused = |reason: &str| Err(Error::Picture(reason.to_owned()));
        if bytes.starts_with(b"\xFF\xD8\xFF") {
            // The decoder fills with grey what is missing.
            return if is_whole(bytes) { Ok(Self::Jpeg) } else { refused(TRUNCATED) };
        }
        if bytes.starts_with(b"\x89PNG\r\n\x1A\n") {
            return Ok(Self::Png);
        }
        if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            return refused("this is a WebP picture: save it as JPEG or PNG");
        }
        let brands = brands(bytes);
        let has = |known: &[&[u8]]| brands.iter().any(|brand| known.contains(brand));
        if has(&[b"avif", b"avis"]) {
            return refused("this is an AVIF picture: save it as JPEG or PNG");
        }
        refused(if has(&HEIC) {
            HEIC_ADVICE
        } else {
            "this is neither JPEG nor PNG: save it as one of these"
        })
    }
}

/// What is said of a JPEG without an end.
const TRUNCATED: &str = "the file ends before the picture does: copy or upload it again";
/// And of a picture in HEIF.
const HEIC_ADVICE: &str = "this is a HEIC picture, as iPhones take them: save it as JPEG; on iPhones, Settings > Camera > Formats > Most Compatible";
/// The brands of pictures in HEIF.
const HEIC: [&[u8]; 8] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];

/// What an ISO media file says that it is: its brand, and those that it is compatible with.
fn brands(bytes: &[u8]) -> Vec<&[u8]> {
    let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return Vec::new() };
    if !head.ends_with(b"ftyp") {
        return Vec::new();
    }
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let end = size.saturating_sub(head.len()).min(rest.len());
    rest[..end].chunks_exact(4).collect()
}

/// Whether a JPEG has a marker of its end. Segments, such as that of a thumbnail, are jumped over.
fn is_whole(jpeg: &[u8]) -> bool {
    let mut rest = jpeg;
    // Behind 0xFF stand stuffing (0), padding (0xFF), restarts, the start (0xD8), or a marker.
    let is_marker = |two: &[u8]| two[0] == 0xFF && !matches!(two[1], 0 | 1 | 0xD0..=0xD8 | 0xFF);
    while let Some(at) = rest.windows(2).position(is_marker) {
        if rest[at + 1] == 0xD9 {
            return true;
        }
        let length = rest.get(at + 2..at + 4).map_or(0, |size| u16::from_be_bytes([size[0], size[1]]));
        rest = rest.get(at + 2 + usize::from(length)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;

    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        Format::of(bytes).expect_err("refused").to_string()
    }

    #[test]
    fn formats_of_phones_and_browsers_are_named_with_the_way_out() {
        let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\x0eNmeta";
        assert!(refusal(heic).contains("HEIC") && refusal(heic).contains("Most Compatible"));
        assert!(refusal(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix").contains("HEIC"));
        assert!(refusal(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf").contains("AVIF"));
        assert!(refusal(b"RIFF\xc0\x8a\x02\0WEBPVP8 ").contains("WebP"));
        let others: [&[u8]; 6] = [b"", b"GIF89a", b"RIFF", b"\0\0\0\x18ftyp", b"\0\0\0\0ftypheic", b"text"];
        assert!(others.iter().all(|other| refusal(other).contains("neither JPEG nor PNG")));
    }

    #[test]
    fn a_jpeg_that_ends_early_is_refused() {
        let mut jpeg = Vec::new();
        let picture = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * y) as u8, x as u8, y as u8]));
        picture.write_with_encoder(JpegEncoder::new(&mut jpeg)).expect("encodes");
        assert_eq!(Format::of(&jpeg).expect("whole"), Format::Jpeg);
        for kept in 3..jpeg.len() {
            assert!(refusal(&jpeg[..kept]).contains("ends before"), "{kept} bytes");
        }
        // Neither a thumbnail's end makes a whole nor does what is behind the end take it away.
        let thumbnail = [b"\xFF\xD8\xFF\xE1\0\x06\xFF\xD9\xFF\xD9".as_slice(), &jpeg[2..]].concat();
        assert!(Format::of(&thumbnail).is_ok());
        assert!(Format::of(&thumbnail[..thumbnail.len() - 2]).is_err());
        jpeg.extend(b"\xFF\xDA a video");
        assert!(Format::of(&jpeg).is_ok());
    }
}
