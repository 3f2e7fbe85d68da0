//! A frame of a YUYV camera. The first six bytes are the size and the bytes of a row, as the driver
//! says them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../edge/src/camera/yuyv.rs"]
mod yuyv;

fuzz_target!(|bytes: &[u8]| {
    let Some((head, pixels)) = bytes.split_first_chunk::<6>() else { return };
    let [width, height, stride] =
        [0, 2, 4].map(|at| usize::from(u16::from_le_bytes([head[at], head[at + 1]])));
    let mut rgb = Vec::new();
    if yuyv::decode(pixels, width, height, stride, &mut rgb).is_ok() {
        assert_eq!(rgb.len(), width * height * 3);
    }
});
