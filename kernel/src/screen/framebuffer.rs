//! Pixels: rectangles and glyphs in a framebuffer, whatever its format.

use super::font;
use bootloader_api::info::{FrameBufferInfo, PixelFormat};
use core::ptr::NonNull;

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour {
    pub(super) red: u8,
    pub(super) green: u8,
    pub(super) blue: u8,
}

impl Colour {
    pub(super) const BLACK: Self = Self::new(0, 0, 0);
    pub(super) const WHITE: Self = Self::new(255, 255, 255);

    pub(super) const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self { red, green, blue }
    }
}

/// A framebuffer, checked to lie in its memory as a whole.
pub(super) struct Framebuffer {
    start: NonNull<u8>,
    shape: FrameBufferInfo,
}

// SAFETY: the memory is the framebuffer's owner's alone, and belongs to no thread.
unsafe impl Send for Framebuffer {}

impl Framebuffer {
    /// `None` if its shape makes no sense.
    ///
    /// # Safety
    /// `shape.byte_len` bytes from `start` on must be mapped and writable for good, and nobody else's.
    pub(super) unsafe fn new(start: NonNull<u8>, shape: FrameBufferInfo) -> Option<Self> {
        let row = shape.stride.checked_mul(shape.bytes_per_pixel)?;
        // The last row need not have the bytes behind its last pixel.
        let before = row.checked_mul(shape.height.checked_sub(1)?)?;
        let end = before.checked_add(shape.width.checked_mul(shape.bytes_per_pixel)?)?;
        let is_sound = (1..=4).contains(&shape.bytes_per_pixel)
            && shape.width > 0
            && shape.width <= shape.stride
            && end <= shape.byte_len
            && start.addr().get().checked_add(shape.byte_len).is_some();
        is_sound.then_some(Self { start, shape })
    }

    pub(super) fn width(&self) -> usize {
        self.shape.width
    }

    pub(super) fn height(&self) -> usize {
        self.shape.height
    }

    /// A colour as the bytes of a pixel, the lowest first.
    fn encode(&self, Colour { red, green, blue }: Colour) -> u32 {
        let [red, green, blue] = [red, green, blue].map(u32::from);
        match self.shape.pixel_format {
            PixelFormat::Rgb => blue << 16 | green << 8 | red,
            PixelFormat::U8 => (red * 77 + green * 151 + blue * 28) >> 8,
            PixelFormat::Unknown { red_position, green_position, blue_position } => {
                let at = |value: u32, position: u8| value.checked_shl(position.into()).unwrap_or(0);
                at(red, red_position) | at(green, green_position) | at(blue, blue_position)
            }
            // Blue, green, red is what nearly all firmware has.
            _ => red << 16 | green << 8 | blue,
        }
    }

    /// Writes pixels from this one on to the right, as `pixel` says for each; what lies outside is cut off.
    fn row(&mut self, x: usize, y: usize, count: usize, mut pixel: impl FnMut(usize) -> u32) {
        let FrameBufferInfo { width, height, stride, bytes_per_pixel: bytes, .. } = self.shape;
        if y >= height || x >= width {
            return;
        }
        let count = count.min(width - x);
        // Inside, as was checked when the framebuffer was made.
        let first = (y * stride + x) * bytes;
        for index in 0..count {
            let value = pixel(index);
            // SAFETY: x + index < width and y < height, so the pixel's bytes lie in the framebuffer's memory, which is writable and ours.
            unsafe {
                let place = self.start.add(first + index * bytes);
                if bytes == 4 && place.addr().get().is_multiple_of(4) {
                    place.cast::<u32>().write_volatile(value);
                } else {
                    for (offset, byte) in value.to_le_bytes().into_iter().take(bytes).enumerate() {
                        place.add(offset).write_volatile(byte);
                    }
                }
            }
        }
    }

    /// Fills a rectangle; what lies outside of the screen is cut off.
    pub(super) fn fill(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), colour: Colour) {
        let value = self.encode(colour);
        for y in y..y.saturating_add(height).min(self.shape.height) {
            self.row(x, y, width, |_| value);
        }
    }

    /// Draws a character, each pixel of its glyph as a square of `scale` by `scale`.
    pub(super) fn glyph(
        &mut self,
        (x, y): (usize, usize),
        scale: usize,
        character: u8,
        (front, back): (Colour, Colour),
    ) {
        let (front, back) = (self.encode(front), self.encode(back));
        let rows = font::glyph(character);
        for line in 0..font::HEIGHT * scale {
            let bits = rows[line / scale];
            let y = y.saturating_add(line);
            self.row(x, y, font::WIDTH * scale, |index| if bits << (index / scale) & 0x80 != 0 { front } else { back });
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// A framebuffer in memory that stays allocated for good, and that memory's start.
    pub(in crate::screen) fn in_memory(width: usize, height: usize) -> (Framebuffer, NonNull<u8>) {
        let shape = FrameBufferInfo {
            byte_len: width * height * 4,
            width,
            height,
            pixel_format: PixelFormat::Bgr,
            bytes_per_pixel: 4,
            stride: width,
        };
        let start = NonNull::from(vec![0_u32; width * height].leak()).cast();
        // SAFETY: leaked, and as long as the shape says.
        (unsafe { Framebuffer::new(start, shape) }.unwrap(), start)
    }

    fn check(shape: FrameBufferInfo, draw: impl FnOnce(&mut Framebuffer)) -> Option<Vec<u8>> {
        // Bytes behind the framebuffer, which must stay as they are.
        let mut memory = vec![0xA5; shape.byte_len + 64];
        // SAFETY: the memory outlives the framebuffer, and is looked at only after it.
        let mut screen = unsafe { Framebuffer::new(NonNull::from(memory.as_mut_slice()).cast(), shape) }?;
        draw(&mut screen);
        assert_eq!(memory.split_off(shape.byte_len), vec![0xA5; 64]);
        Some(memory)
    }

    fn shape(bytes_per_pixel: usize, pixel_format: PixelFormat) -> FrameBufferInfo {
        FrameBufferInfo {
            byte_len: 10 * 4 * bytes_per_pixel,
            width: 9,
            height: 4,
            pixel_format,
            bytes_per_pixel,
            stride: 10,
        }
    }

    #[test]
    fn colours_are_where_the_format_says() {
        let colour = Colour::new(1, 2, 3);
        let unknown = PixelFormat::Unknown { red_position: 8, green_position: 0, blue_position: 16 };
        for (bytes, format, pixel) in [
            (4, PixelFormat::Bgr, &[3, 2, 1, 0][..]),
            (4, PixelFormat::Rgb, &[1, 2, 3, 0]),
            (3, PixelFormat::Bgr, &[3, 2, 1]),
            (3, unknown, &[2, 1, 3]),
            (1, PixelFormat::U8, &[1]),
        ] {
            let memory = check(shape(bytes, format), |screen| screen.fill((1, 1), (1, 1), colour)).unwrap();
            assert_eq!(&memory[11 * bytes..12 * bytes], pixel);
            assert!(memory[12 * bytes..].iter().all(|byte| *byte == 0xA5), "one pixel only");
        }
    }

    #[test]
    fn what_lies_outside_is_cut_off() {
        for bytes in 1..=4 {
            let memory = check(shape(bytes, PixelFormat::Bgr), |screen| {
                screen.fill((5, 2), (usize::MAX, usize::MAX), Colour::WHITE);
                screen.fill((9, 0), (5, 5), Colour::WHITE);
                screen.fill((usize::MAX, usize::MAX), (2, 2), Colour::WHITE);
                screen.glyph((4, 1), 3, b'X', (Colour::WHITE, Colour::BLACK));
                screen.glyph((usize::MAX, usize::MAX), 1, b'X', (Colour::WHITE, Colour::BLACK));
            });
            let memory = memory.unwrap();
            assert!(memory[..10 * bytes].iter().all(|byte| *byte == 0xA5), "the first row is not touched");
            let behind = |row: usize| &memory[(row * 10 + 9) * bytes..(row * 10 + 10) * bytes];
            assert!((0..4).all(|row| behind(row).iter().all(|byte| *byte == 0xA5)), "nor what lies behind a row");
        }
    }

    #[test]
    fn shapes_that_make_no_sense_are_refused() {
        let good = shape(4, PixelFormat::Bgr);
        assert!(check(good, |_| ()).is_some());
        for bad in [
            FrameBufferInfo { width: 11, ..good },
            FrameBufferInfo { width: 0, ..good },
            FrameBufferInfo { height: 0, ..good },
            FrameBufferInfo { height: 5, ..good },
            FrameBufferInfo { height: usize::MAX, ..good },
            FrameBufferInfo { stride: usize::MAX, ..good },
            FrameBufferInfo { bytes_per_pixel: 0, ..good },
            FrameBufferInfo { bytes_per_pixel: 5, ..good },
        ] {
            assert!(check(bad, |_| ()).is_none(), "{bad:?}");
        }
    }
}
