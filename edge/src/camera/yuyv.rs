//! Decodes frames of YUYV: two pixels in four bytes, with a luma each and shared chroma.

use anyhow::{Context, Result};
use yuv::{YuvPackedImage, YuvRange, YuvStandardMatrix, yuyv422_to_rgb};

/// Decodes to packed RGB, replacing the contents of `rgb`. `stride`: bytes of a row.
pub fn decode(bytes: &[u8], width: usize, height: usize, stride: usize, rgb: &mut Vec<u8>) -> Result<()> {
    let stride = stride.max(width.next_multiple_of(2) * 2);
    // Nothing is allocated for a frame that is too short.
    let pixels = stride
        .checked_mul(height)
        .and_then(|size| bytes.get(..size))
        .with_context(|| format!("frame of {} bytes, expected {height} rows of {stride}", bytes.len()))?;
    let picture =
        YuvPackedImage { yuy: pixels, yuy_stride: stride as u32, width: width as u32, height: height as u32 };
    rgb.resize(width * height * 3, 0);
    yuyv422_to_rgb(&picture, rgb, width as u32 * 3, YuvRange::Limited, YuvStandardMatrix::Bt601)
        .map_err(|e| anyhow::anyhow!("damaged frame: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], width: usize, height: usize, stride: usize) -> Result<Vec<u8>> {
        let mut rgb = vec![7; 5]; // left over from another frame
        super::decode(bytes, width, height, stride, &mut rgb).map(|()| rgb)
    }

    const WHITE: [u8; 4] = [235, 128, 235, 128];
    const RED: [u8; 4] = [81, 90, 81, 240];

    #[test]
    fn yuyv_becomes_rgb_with_padding_skipped() {
        // two rows of four pixels, four bytes of padding a row: white above, red below
        let row = |pair: [u8; 4]| [pair, pair, [9; 4]].concat();
        let rgb = decode(&[row(WHITE), row(RED)].concat(), 4, 2, 12).expect("decodes");
        assert!(rgb[..12].iter().all(|v| *v >= 253), "{rgb:?}");
        assert!(rgb[12] > 250 && rgb[13] < 5 && rgb[14] < 5, "{:?}", &rgb[12..15]);
    }

    #[test]
    fn an_odd_width_has_half_a_pair_at_its_end() {
        let rgb = decode(&[WHITE, RED].concat(), 3, 1, 6).expect("decodes");
        assert_eq!(rgb.len(), 9);
        assert!(rgb[6] > 250 && rgb[7] < 5, "{rgb:?}");
    }

    #[test]
    fn wrong_sizes_are_errors_and_take_no_memory() {
        assert!(decode(&[0; 10], 4, 2, 12).is_err());
        assert!(decode(&[0; 10], 1 << 20, 1 << 40, 12).is_err());
        assert!(decode(&[0; 10], 0, 1, 0).is_err());
        assert!(decode(&[0; 10], 1, 0, 0).is_err());
    }
}
