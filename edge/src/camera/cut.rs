//! Pictures out of the bytes that a program writes.

/// Bytes of a JPEG, at most: a larger one is passed over.
const LARGEST: usize = 8 << 20;
const MARKER: u8 = 0xFF;
const START: u8 = 0xD8;
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;

/// Cuts a stream into pictures.
pub enum Cutter {
    /// JPEGs one after the other; what is between them is passed over.
    Jpegs(Jpegs),
    /// Pictures of so many bytes each.
    Sized {
        /// Bytes of a picture.
        size: usize,
        /// The beginning of the next.
        held: Vec<u8>,
    },
}

impl Cutter {
    /// Takes what was read, and gives the latest picture that it made whole: older ones are stale.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Jpegs(jpegs) => jpegs.take(bytes),
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

/// Finds where a JPEG ends by its segments: their contents (a small picture within a picture, for one)
/// may look like an end.
#[derive(Default)]
pub struct Jpegs {
    /// From the picture's start on, if there is one.
    held: Vec<u8>,
    /// What was looked at already.
    at: usize,
    inside: Inside,
}

#[derive(Clone, Copy, Default)]
enum Inside {
    /// Not a picture.
    #[default]
    Nothing,
    /// Before a marker.
    Markers,
    /// Compressed pixels.
    Scan,
}

/// What a look at the bytes found.
enum Found {
    /// More to look at.
    More,
    /// A picture that ends here.
    Whole(usize),
    /// Bytes are missing to go on.
    TooFew,
}

impl Jpegs {
    fn take(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
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
                Found::Whole(end) => {
                    latest = Some(self.held.drain(..end).collect());
                    (self.at, self.inside) = (0, Inside::Nothing);
                }
                Found::TooFew if self.held.len() > LARGEST => self.restart(),
                Found::TooFew => return latest,
            }
        }
    }

    /// Looks for a picture's start: the marker, and the beginning of the next one.
    fn start(&mut self) -> Found {
        let start = self.held.windows(3).position(|three| three == [MARKER, START, MARKER]);
        self.held.drain(..start.unwrap_or(self.held.len().saturating_sub(2)));
        if start.is_none() {
            return Found::TooFew;
        }
        (self.at, self.inside) = (2, Inside::Markers);
        Found::More
    }

    /// Looks at one marker, and beyond its segment.
    fn marker(&mut self) -> Found {
        let Some([first, kind]) = self.held.get(self.at..self.at + 2) else { return Found::TooFew };
        match (*first, *kind) {
            (MARKER, MARKER) => self.at += 1, // padding
            // The picture before was cut off.
            (MARKER, START) => {
                self.held.drain(..self.at);
                self.at = 2;
            }
            (MARKER, END) => return Found::Whole(self.at + 2),
            (MARKER, 0x01 | 0xD0..=0xD7) => self.at += 2, // without a segment
            (MARKER, 0x02..) => {
                let Some([high, low]) = self.held.get(self.at + 2..self.at + 4) else { return Found::TooFew };
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                self.inside = if *kind == SCAN { Inside::Scan } else { Inside::Markers };
                self.at += 2 + length.max(2);
            }
            _ => self.restart(), // it only looked like a picture
        }
        Found::More
    }

    /// Looks for the marker that ends a scan.
    fn scan(&mut self) -> Found {
        let rest = self.held.get(self.at..).unwrap_or_default();
        let Some(marker) = rest.iter().position(|byte| *byte == MARKER) else {
            self.at = self.at.max(self.held.len());
            return Found::TooFew;
        };
        self.at += marker;
        match self.held.get(self.at + 1) {
            None => return Found::TooFew,
            Some(0x00 | 0xD0..=0xD7) => self.at += 2, // a pixel's 0xFF, a restart
            Some(_) => self.inside = Inside::Markers,
        }
        Found::More
    }

    /// Looks for another start behind this one.
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
        let mut cutter = Cutter::Jpegs(Jpegs::default());
        stream.chunks(piece).filter_map(|bytes| cutter.take(bytes)).collect()
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
        assert!(jpegs.take(&scan).is_none());
        let piece = vec![7; 1 << 16];
        for _ in 0..LARGEST / piece.len() + 10 {
            assert!(jpegs.take(&piece).is_none());
            assert!(jpegs.held.len() <= LARGEST + piece.len());
        }
        let one = jpeg(3);
        assert!(jpegs.take(&one) == Some(one));
    }

    #[test]
    fn raw_pictures_have_their_size() {
        let mut cutter = Cutter::Sized { size: 4, held: Vec::new() };
        assert_eq!(cutter.take(&[1, 2, 3]), None);
        assert_eq!(cutter.take(&[4, 5]), Some(vec![1, 2, 3, 4]));
        assert_eq!(cutter.take(&[6, 7, 8, 1, 1, 1, 1, 9]), Some(vec![1; 4]));
    }
}
