//! A crash record as QR codes on the screen.

use super::framebuffer::{Colour, Framebuffer};
use super::terminal::Terminal;
use alloc::vec;
use blockconsole::qr::{MAX_PACKED, MAX_PIECES, MAX_TEXT, MODEL_WORDS, Sender};
use core::ops::Range;
use qrcodegen_no_heap::{Mask, QrCode, QrCodeEcc, Version};

/// Light modules around a code (ISO/IEC 18004, 9.1).
const QUIET: usize = 4;
/// Pixels of a module that are enough for a photo. Fewer are taken if more codes do not help.
const GOOD_PIXELS: usize = 4;
/// With fewer, nothing is shown.
const LEAST_PIXELS: usize = 2;
/// More would only take room from the text.
const MOST_PIXELS: usize = 5;
/// Memory for a code.
const BUFFER: usize = Version::MAX.buffer_len();

/// Makes codes in memory of its own.
pub(super) struct Codes {
    model: &'static mut [u32],
    packed: &'static mut [u8],
    text: &'static mut [u8],
    work: &'static mut [u8],
    code: &'static mut [u8],
}

/// How codes are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    pieces: usize,
    columns: usize,
    /// Pixels of a module.
    pixels: usize,
    /// Modules of a code's side, quiet zones included.
    side: usize,
    version: Version,
}

impl Codes {
    pub(super) fn new() -> Self {
        Self {
            model: vec![0; MODEL_WORDS].leak(),
            packed: vec![0; MAX_PACKED].leak(),
            text: vec![0; MAX_TEXT].leak(),
            work: vec![0; BUFFER].leak(),
            code: vec![0; BUFFER].leak(),
        }
    }

    /// Shows a crash record in the right half of the screen, from these rows of pixels on. Returns the columns of text that
    /// are left beside it; `None` if it does not fit, and then nothing is shown.
    pub(super) fn show(&mut self, record: &[u8], terminal: &mut Terminal, rows: Range<usize>) -> Option<usize> {
        let Self { model, packed, text, work, code } = self;
        let sender = Sender::new(record, model, packed)?;
        let room = (terminal.screen().width() / 2, rows.len());
        let layout = layout(&sender, room, (text, work, code))?;
        let step = layout.side * layout.pixels;
        let left = terminal.screen().width().checked_sub(layout.columns * step)?;
        for number in 0..layout.pieces {
            let len = sender.text(number, layout.pieces, text)?;
            let code = encode(text.get(..len)?, (work, code), layout.version)?;
            let place = (left + number % layout.columns * step, rows.start + number / layout.columns * step);
            draw(&code, place, layout.pixels, terminal.screen());
        }
        let (character, _) = terminal.character();
        (left / character).checked_sub(1)
    }
}

/// The arrangement with the fewest codes whose modules are large enough, or else with the largest.
fn layout(
    sender: &Sender<'_>,
    (width, height): (usize, usize),
    (text, work, code): (&mut [u8], &mut [u8], &mut [u8]),
) -> Option<Layout> {
    let mut best: Option<Layout> = None;
    for pieces in 1..=MAX_PIECES {
        // The first piece is as long as any.
        let Some(len) = sender.text(0, pieces, text) else { continue };
        let Some(first) = encode(text.get(..len)?, (work, code), Version::MIN) else { continue };
        let (version, side) = (first.version(), usize::try_from(first.size()).ok()? + 2 * QUIET);
        for columns in 1..=pieces {
            let rows = pieces.div_ceil(columns);
            let pixels = (width / (columns * side)).min(height / (rows * side)).min(MOST_PIXELS);
            if pixels >= LEAST_PIXELS && best.is_none_or(|best| best.pixels < pixels) {
                best = Some(Layout { pieces, columns, pixels, side, version });
            }
        }
        if best.is_some_and(|best| best.pixels >= GOOD_PIXELS) {
            break;
        }
    }
    best
}

/// A text as a code, of this version at least. `None` if it is too long.
fn encode<'c>(text: &[u8], (work, code): (&mut [u8], &'c mut [u8]), least: Version) -> Option<QrCode<'c>> {
    let text = core::str::from_utf8(text).ok()?;
    // The content looks like noise, so that one mask is as good as another; to compare them all would take eight times as long.
    let mask = Some(Mask::new(0));
    QrCode::encode_text(text, work, code, QrCodeEcc::Low, least, Version::MAX, mask, true).ok()
}

/// Draws a code and its quiet zone.
fn draw(code: &QrCode<'_>, (left, top): (usize, usize), pixels: usize, screen: &mut Framebuffer) {
    let side = code.size() as usize;
    let whole = (side + 2 * QUIET) * pixels;
    screen.fill((left, top), (whole, whole), Colour::WHITE);
    for y in 0..side {
        for x in 0..side {
            if code.get_module(x as i32, y as i32) {
                let place = (left + (QUIET + x) * pixels, top + (QUIET + y) * pixels);
                screen.fill(place, (pixels, pixels), Colour::BLACK);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::framebuffer::tests::in_memory;
    use super::*;
    use std::format;
    use std::string::String;

    /// Text that packs as badly as crash records at their worst do.
    fn record(lines: usize) -> String {
        let mut random = 1_u64;
        let mut word = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random
        };
        (0..lines).map(|_| format!("stack {:016x}: {:016x} {:016x}\n", word(), word(), word())).collect()
    }

    /// Shows a record on a screen of this size; returns what is left for text, and whether there are any light pixels.
    fn show(lines: usize, (width, height): (usize, usize)) -> (Option<usize>, bool) {
        let (screen, start) = in_memory(width, height);
        let mut terminal = Terminal::new(screen).unwrap();
        let columns = Codes::new().show(record(lines).as_bytes(), &mut terminal, 32..height);
        // SAFETY: as long as the screen, and leaked; nobody writes to it any more.
        let pixels = unsafe { core::slice::from_raw_parts(start.cast::<u32>().as_ptr(), width * height) };
        (columns, pixels.iter().any(|pixel| *pixel != 0))
    }

    #[test]
    fn the_text_keeps_half_of_the_screen() {
        for size in [(1024, 768), (1280, 800), (1920, 1080), (3840, 2160)] {
            for lines in [1, 20, 60, 200] {
                let (columns, drawn) = show(lines, size);
                let all = size.0 / 8 / size.0.div_ceil(1920);
                assert!(
                    drawn && columns.is_some_and(|columns| columns >= all / 2 - 1 && columns < all),
                    "{lines} {size:?}"
                );
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        assert_eq!(show(200, (640, 300)), (None, false));
        assert_eq!(show(400, (1920, 1080)), (None, false), "longer than any record");
    }
}
