//! Pixels into a model's input, as its manifest says: order, element, normalisation.

use crate::error::Result;
use crate::manifest::{Element, Input, Order};
use crate::tflite::Model;

/// Turns packed RGB pixels into a model's input.
pub struct TensorInput {
    element: Element,
    order: Order,
    /// For floats: the value of each byte in each channel that is fed.
    table: Box<[[f32; 256]; 3]>,
}

impl TensorInput {
    /// Prepares what the manifest's input says.
    pub fn new(input: &Input) -> Self {
        let mut table = Box::new([[0.0; 256]; 3]);
        for (channel, values) in table.iter_mut().enumerate() {
            for (byte, value) in values.iter_mut().enumerate() {
                *value = byte as f32 * input.scale[channel] + input.offset[channel];
            }
        }
        Self { element: input.element, order: input.order, table }
    }

    /// Feeds a square of packed RGB and runs the model.
    pub fn run(&self, model: &mut Model, rgb: &[u8]) -> Result<()> {
        let pick: [usize; 3] = if self.order == Order::Rgb { [0, 1, 2] } else { [2, 1, 0] };
        match self.element {
            Element::Uint8 if self.order == Order::Rgb => {
                model.run(|input: &mut [u8]| input.copy_from_slice(rgb))
            }
            Element::Uint8 => model.run(|input: &mut [u8]| each(input, rgb, |pixel, c| pixel[pick[c]])),
            Element::Int8 => model.run(|input: &mut [i8]| {
                each(input, rgb, |pixel, c| (i16::from(pixel[pick[c]]) - 128) as i8);
            }),
            Element::F32 => model.run(|input: &mut [f32]| {
                let [first, second, third] = &*self.table;
                for (to, pixel) in input.chunks_exact_mut(3).zip(rgb.chunks_exact(3)) {
                    to[0] = first[usize::from(pixel[pick[0]])];
                    to[1] = second[usize::from(pixel[pick[1]])];
                    to[2] = third[usize::from(pixel[pick[2]])];
                }
            }),
        }
    }
}

fn each<T>(input: &mut [T], rgb: &[u8], value: impl Fn(&[u8], usize) -> T) {
    for (to, pixel) in input.chunks_exact_mut(3).zip(rgb.chunks_exact(3)) {
        for (c, slot) in to.iter_mut().enumerate() {
            *slot = value(pixel, c);
        }
    }
}
