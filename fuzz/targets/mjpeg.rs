//! A frame of a motion-JPEG camera. The first two bytes are the size that the camera promised.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../edge/src/camera/mjpeg.rs"]
mod mjpeg;

fuzz_target!(
    // A panic that is caught, as that of the decoder, is no crash; one that is not still ends the run.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        let [width, height, jpeg @ ..] = bytes else { return };
        let (width, height) = (usize::from(*width), usize::from(*height));
        let mut rgb = Vec::new();
        let _ = mjpeg::decode_any(jpeg, &mut rgb).inspect(|(width, height)| assert_eq!(rgb.len(), width * height * 3));
        if mjpeg::decode(jpeg, width, height, &mut rgb).is_ok() {
            assert_eq!(rgb.len(), width * height * 3);
        }
    }
);
