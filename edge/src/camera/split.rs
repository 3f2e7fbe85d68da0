//! Splits the byte stream of a program into pictures.

/// Bytes of a JPEG, at most: a larger one is skipped.
const LARGEST: usize = 8 << 20;
const MARKER: u8 = 0xFF;
const START: u8 = 0xD8;
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;

/// Splits a stream into pictures.
pub enum Splitter {
    /// JPEGs; bytes between them are skipped.
    Jpegs(Jpegs),
    /// Pictures of a fixed size.
    Sized { size: usize, held: Vec<u8> },
}

impl Splitter {
    /// Adds bytes, and returns the latest picture that they completed.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Jpegs(jpegs) => jpegs.push(bytes),
            Self::Sized { size, held } => {
                held.extend_from_slice(bytes);
                let whole = held.len() / *size * *size;
                let latest = held[..whole].chunks_exact(*size).next_back().map(<[u8]>::to_vec);
                held.drain(..whole);
                latest
            }
        }
    }
}

/// Finds the end of a JPEG by its segments: their contents, such as a thumbnail, may contain an end marker.
#[derive(Default)]
pub struct Jpegs {
    /// Bytes since the start of the picture.
    held: Vec<u8>,
    /// Up to where they were parsed.
    at: usize,
    inside: Inside,
}

#[derive(Clone, Copy, Default)]
enum Inside {
    #[default]
    Nothing,
    Markers,
    /// Entropy-coded data.
    Scan,
}

enum Found {
    More,
    /// With the picture's length.
    Complete(usize),
    Incomplete,
}

impl Jpegs {
    fn push(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.held.extend_from_slice(bytes);
        let mut latest = None;
        loop {
            let found = match self.inside {
                Inside::Nothing => self.start(),
                Inside::Markers => self.marker(),
                Inside::Scan => self.scan(),
            };
            match found {
                Found::More => {}
                Found::Complete(end) => {
                    latest = Some(self.held.drain(..end).collect());
                    (self.at, self.inside) = (0, Inside::Nothing);
                }
                Found::Incomplete if self.held.len() > LARGEST => self.restart(),
                Found::Incomplete => return latest,
            }
        }
    }

    /// Searches for the start of a picture: its marker and the first byte of the next one.
    fn start(&mut self) -> Found {
        let start = self.held.windows(3).position(|three| three == [MARKER, START, MARKER]);
        self.held.drain(..start.unwrap_or(self.held.len().saturating_sub(2)));
        if start.is_none() {
            return Found::Incomplete;
        }
        (self.at, self.inside) = (2, Inside::Markers);
        Found::More
    }

    /// Reads one marker and skips its segment.
    fn marker(&mut self) -> Found {
        let Some([first, kind]) = self.held.get(self.at..self.at + 2) else { return Found::Incomplete };
        match (*first, *kind) {
            (MARKER, MARKER) => self.at += 1, // padding
            // The previous picture was truncated.
            (MARKER, START) => {
                self.held.drain(..self.at);
                self.at = 2;
            }
            (MARKER, END) => return Found::Complete(self.at + 2),
            (MARKER, 0x01 | 0xD0..=0xD7) => self.at += 2, // without a segment
            (MARKER, 0x02..) => {
                let Some([high, low]) = self.held.get(self.at + 2..self.at + 4) else {
                    return Found::Incomplete;
                };
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                self.inside = if *kind == SCAN { Inside::Scan } else { Inside::Markers };
                self.at += 2 + length.max(2);
            }
            _ => self.restart(), // not a picture after all
        }
        Found::More
    }

    /// Searches for the marker that ends a scan.
    fn scan(&mut self) -> Found {
        let rest = self.held.get(self.at..).unwrap_or_default();
        let Some(marker) = rest.iter().position(|byte| *byte == MARKER) else {
            self.at = self.at.max(self.held.len());
            return Found::Incomplete;
        };
        self.at += marker;
        match self.held.get(self.at + 1) {
            None => return Found::Incomplete,
            Some(0x00 | 0xD0..=0xD7) => self.at += 2, // stuffing, restart
            Some(_) => self.inside = Inside::Markers,
        }
        Found::More
    }

    /// Gives this start up and searches for the next one.
    fn restart(&mut self) {
        self.held.drain(..2);
        (self.at, self.inside) = (0, Inside::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG with a picture within its header, as cameras and phones write them.
    fn jpeg(shade: u8) -> Vec<u8> {
        let picture = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([shade, x as u8 * 3, y as u8 * 3]));
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90);
        picture.write_with_encoder(encoder).expect("encodes");
        let small = [&[0xFF, 0xE1, 0, 10][..], &[0xFF, 0xD8, 0xFF, 0xD9, 1, 2, 3, 4]].concat();
        [&bytes[..2], &small, &bytes[2..]].concat()
    }

    fn all(stream: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::Jpegs(Jpegs::default());
        stream.chunks(piece).filter_map(|bytes| splitter.push(bytes)).collect()
    }

    #[test]
    fn pictures_are_found_between_junk_however_they_are_read() {
        let junk = b"--boundary\r\nContent-Type: image/jpeg\r\n\r\n\xFF\xD8\xFF\x00\xFF";
        let (one, two) = (jpeg(10), jpeg(200));
        let stream = [junk, &one[..], junk, &two, &one, junk].concat();
        for piece in [1, 2, 7, 100] {
            assert!(all(&stream, piece) == [one.clone(), two.clone(), one.clone()], "{piece}");
        }
        assert!(all(&stream, stream.len()) == [one], "only the latest");
    }

    #[test]
    fn a_picture_that_was_cut_off_or_starts_twice_spoils_no_other() {
        let (one, two) = (jpeg(10), jpeg(200));
        let cut = [&one[..one.len() - 40], &two].concat();
        assert!(all(&cut, 50) == [two.clone()]);
        let twice = [&[0xFF, 0xD8][..], &one].concat();
        assert!(all(&twice, 1) == [one]);
    }

    #[test]
    fn what_never_ends_takes_no_more_memory_than_a_picture_may() {
        let mut jpegs = Jpegs::default();
        let scan = [0xFF, 0xD8, 0xFF, SCAN, 0, 2];
        assert!(jpegs.push(&scan).is_none());
        let piece = vec![7; 1 << 16];
        for _ in 0..LARGEST / piece.len() + 10 {
            assert!(jpegs.push(&piece).is_none());
            assert!(jpegs.held.len() <= LARGEST + piece.len());
        }
        let one = jpeg(3);
        assert!(jpegs.push(&one) == Some(one));
    }

    #[test]
    fn raw_pictures_have_their_size() {
        let mut splitter = Splitter::Sized { size: 4, held: Vec::new() };
        assert_eq!(splitter.push(&[1, 2, 3]), None);
        assert_eq!(splitter.push(&[4, 5]), Some(vec![1, 2, 3, 4]));
        assert_eq!(splitter.push(&[6, 7, 8, 1, 1, 1, 1, 9]), Some(vec![1; 4]));
    }
}
