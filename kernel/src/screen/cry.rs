//! Shows one text at once, without any memory: why the program cannot go on.

use super::font;
use super::framebuffer::{Colour, Framebuffer};
use core::fmt;
use core::ptr::NonNull;

/// Text on a framebuffer, from its upper left corner on, white on red.
pub(super) struct OnPixels {
    screen: Framebuffer,
    at: usize,
}

impl OnPixels {
    pub(super) fn new(mut screen: Framebuffer) -> Self {
        screen.fill((0, 0), (usize::MAX, usize::MAX), Colour::BLACK);
        Self { screen, at: 0 }
    }
}

impl fmt::Write for OnPixels {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let columns = (self.screen.width() / font::WIDTH).max(1);
        for character in text.chars() {
            let character = if character.is_ascii() { character as u8 } else { b'?' };
            let place = (self.at % columns * font::WIDTH, self.at / columns * font::HEIGHT);
            self.screen.glyph(place, 1, character, (Colour::WHITE, Colour::new(176, 0, 0)));
            self.at += 1;
        }
        Ok(())
    }
}

/// Text in a PC's text screen, from its first line on, white on red.
pub(super) struct InTextMemory {
    start: NonNull<u16>,
    at: usize,
}

impl InTextMemory {
    const ADDRESS: u64 = 0xB_8000;
    const CELLS: usize = 80 * 25;
    const WHITE_ON_RED: u16 = 0x4F00;

    /// # Safety
    /// Physical memory is mapped at `offset`, and nobody else uses the text screen's.
    pub(super) unsafe fn new(offset: u64) -> Self {
        let address = offset.wrapping_add(Self::ADDRESS) as usize;
        let start = NonNull::new(core::ptr::with_exposed_provenance_mut(address)).unwrap_or(NonNull::dangling());
        Self { start, at: 0 }
    }
}

impl fmt::Write for InTextMemory {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars().take(Self::CELLS - self.at) {
            let character = if character.is_ascii() { character as u16 } else { u16::from(b'?') };
            // SAFETY: one of the screen's cells, which are mapped and ours as `new`'s caller promised; where there is no such screen,
            // it is memory below 1 MiB that nobody is given, or no memory at all.
            unsafe { self.start.add(self.at).write_volatile(Self::WHITE_ON_RED | character) };
            self.at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::framebuffer::tests::in_memory;
    use super::*;
    use core::fmt::Write;

    #[test]
    fn a_text_that_is_too_long_is_cut_off() {
        let (screen, start) = in_memory(100, 40);
        let mut out = OnPixels::new(screen);
        write!(out, "{:1000}\u{e9}", "not enough memory for the log").unwrap();
        let pixels = 100 * 40;
        // SAFETY: leaked by `in_memory`, of that size, and the screen does nothing now.
        let pixels = unsafe { core::slice::from_raw_parts(start.cast::<u32>().as_ptr(), pixels) };
        assert!(pixels.contains(&0xFF_FFFF) && pixels.contains(&0xB0_0000));
    }

    #[test]
    fn the_text_screen_takes_as_many_characters_as_it_has() {
        let mut memory = std::vec![0_u16; InTextMemory::CELLS + 8];
        let offset = (memory.as_mut_ptr().expose_provenance() as u64).wrapping_sub(InTextMemory::ADDRESS);
        // SAFETY: the memory is larger than the screen, and lives longer.
        let mut out = unsafe { InTextMemory::new(offset) };
        write!(out, "Why").unwrap();
        write!(out, "{:3000}", "").unwrap();
        assert_eq!(memory[..4], [0x4F57, 0x4F68, 0x4F79, 0x4F20]);
        assert_eq!(memory[InTextMemory::CELLS - 1..][..2], [0x4F20, 0]);
    }
}
