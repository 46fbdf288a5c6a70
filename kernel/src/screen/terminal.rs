//! Lines of text on a screen, which scroll.
//!
//! The text is kept as cells in memory. What the screen shows is kept as well, and only cells that differ are drawn: framebuffers
//! are slow to write, and never read. Drawing stops when its time is over, and goes on where it stopped.

use super::font;
use super::framebuffer::{Colour, Framebuffer};
use alloc::vec;

/// A character on the screen, and how it looks.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cell {
    character: u8,
    style: Style,
}

const BLANK: Cell = Cell { character: b' ', style: Style::Plain };
/// What no cell is: it differs from whatever is to be shown.
const UNKNOWN: Cell = Cell { character: 0, style: Style::Plain };

/// How text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Faint,
    Warning,
    Error,
    /// White on red, for headings of crashes.
    Alarm,
}

impl Style {
    /// Front and back.
    const fn colours(self) -> (Colour, Colour) {
        match self {
            Self::Plain => (Colour::new(208, 208, 208), Colour::BLACK),
            Self::Faint => (Colour::new(128, 128, 128), Colour::BLACK),
            Self::Warning => (Colour::new(255, 200, 60), Colour::BLACK),
            Self::Error => (Colour::new(255, 96, 80), Colour::BLACK),
            Self::Alarm => (Colour::WHITE, Colour::new(176, 0, 0)),
        }
    }
}

/// Pixels of a screen's width from which on everything is drawn twice as large, three times…
const WIDTH_A_SCALE: usize = 1920;
/// Most columns and rows.
const MAX_COLUMNS: usize = 400;
const MAX_ROWS: usize = 200;

/// A screen full of text.
pub(super) struct Terminal {
    screen: Framebuffer,
    scale: usize,
    columns: usize,
    rows: usize,
    cells: &'static mut [Cell],
    shown: &'static mut [Cell],
    /// Where the next line begins.
    next: usize,
    /// The row from which on the screen may show something else than the cells.
    unpainted: usize,
}

impl Terminal {
    /// A blank one; `None` if the screen is too small for text.
    pub(super) fn new(screen: Framebuffer) -> Option<Self> {
        let scale = screen.width().div_ceil(WIDTH_A_SCALE).max(1);
        let columns = (screen.width() / (font::WIDTH * scale)).min(MAX_COLUMNS);
        let rows = (screen.height() / (font::HEIGHT * scale)).min(MAX_ROWS);
        if columns < 40 || rows < 10 {
            return None;
        }
        let [cells, shown] = [BLANK, UNKNOWN].map(|cell| vec![cell; columns * rows].leak());
        Some(Self { screen, scale, columns, rows, cells, shown, next: 0, unpainted: 0 })
    }

    /// Rows of text.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of text.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Pixels of a character: width and height.
    pub(super) fn character(&self) -> (usize, usize) {
        (font::WIDTH * self.scale, font::HEIGHT * self.scale)
    }

    /// The pixels themselves.
    pub(super) fn screen(&mut self) -> &mut Framebuffer {
        &mut self.screen
    }

    /// Forgets all text.
    pub(super) fn clear(&mut self) {
        self.cells.fill(BLANK);
        (self.next, self.unpainted) = (0, 0);
    }

    /// Forgets what the screen shows, so that all of it is drawn again.
    pub(super) fn distrust(&mut self) {
        self.shown.fill(UNKNOWN);
        self.unpainted = 0;
    }

    /// Adds a line, broken at the right edge, or at `width` columns if they are fewer.
    pub(super) fn line(&mut self, text: &str, style: Style, width: usize) {
        let width = width.clamp(1, self.columns);
        let mut characters = text.chars().map(ascii).peekable();
        loop {
            let start = self.new_row() * self.columns;
            for cell in self.cells.iter_mut().skip(start).take(width) {
                let Some(character) = characters.next() else { break };
                *cell = Cell { character, style };
            }
            if characters.peek().is_none() {
                return;
            }
        }
    }

    /// The rows that are still free before the text scrolls.
    pub(super) fn rows_left(&self) -> usize {
        self.rows.saturating_sub(self.next)
    }

    /// The row for the next line, blank.
    fn new_row(&mut self) -> usize {
        if self.next >= self.rows {
            // One row is lost at the top.
            self.cells.copy_within(self.columns.., 0);
            let last = self.cells.len().saturating_sub(self.columns);
            self.cells.iter_mut().skip(last).for_each(|cell| *cell = BLANK);
            self.next = self.rows.saturating_sub(1);
            self.unpainted = 0;
        }
        let row = self.next;
        self.next += 1;
        self.unpainted = self.unpainted.min(row);
        row
    }

    /// Draws what differs, row by row, as long as `go_on` says so. Returns whether all is drawn.
    pub(super) fn paint(&mut self, mut go_on: impl FnMut() -> bool) -> bool {
        let (width, height) = self.character();
        while self.unpainted < self.rows {
            if !go_on() {
                return false;
            }
            let row = self.unpainted;
            let cells = self.cells.iter().zip(self.shown.iter_mut()).skip(row * self.columns).take(self.columns);
            for (column, (cell, shown)) in cells.enumerate().filter(|(_, (cell, shown))| *cell != *shown) {
                let place = (column * width, row * height);
                self.screen.glyph(place, self.scale, cell.character, cell.style.colours());
                *shown = *cell;
            }
            self.unpainted += 1;
        }
        true
    }

    /// The text of a row, for tests.
    #[cfg(test)]
    pub(super) fn text(&self, row: usize) -> std::string::String {
        let cells = &self.cells[row * self.columns..(row + 1) * self.columns];
        let text: std::string::String = cells.iter().map(|cell| char::from(cell.character)).collect();
        text.trim_end().into()
    }
}

/// The character as the font has it.
fn ascii(character: char) -> u8 {
    match character {
        ' '..='~' => character as u8,
        _ => 0x7F,
    }
}

#[cfg(test)]
mod tests {
    use super::super::framebuffer::tests::in_memory;
    use super::*;
    use std::vec::Vec;

    fn terminal() -> (Terminal, impl Fn() -> Vec<u32>) {
        let (screen, start) = in_memory(40 * 8 + 3, 10 * 16 + 5);
        // SAFETY: the memory is leaked, and nobody writes to it while this reads.
        let pixels = move || unsafe { core::slice::from_raw_parts(start.cast::<u32>().as_ptr(), 323 * 165) }.to_vec();
        (Terminal::new(screen).unwrap(), pixels)
    }

    #[test]
    fn lines_are_broken_and_scroll() {
        let (mut terminal, _) = terminal();
        assert_eq!((terminal.columns(), terminal.rows()), (40, 10));
        terminal.line(&"a".repeat(40), Style::Plain, usize::MAX);
        terminal.line(&"b".repeat(41), Style::Plain, usize::MAX);
        terminal.line("", Style::Plain, usize::MAX);
        terminal.line("ö\u{1}x", Style::Plain, 2);
        assert_eq!(terminal.rows_left(), 4);
        let rows: Vec<_> = (0..6).map(|row| terminal.text(row)).collect();
        assert_eq!(rows[0], "a".repeat(40));
        assert_eq!(rows[1..], ["b".repeat(40).as_str(), "b", "", "\u{7f}\u{7f}", "x"]);
        for number in 0..6 {
            terminal.line(&std::format!("line {number}"), Style::Plain, usize::MAX);
        }
        assert_eq!((terminal.text(0), terminal.text(9)), ("b".into(), "line 5".into()));
        assert_eq!(terminal.rows_left(), 0);
        terminal.clear();
        assert_eq!((terminal.text(9), terminal.rows_left()), ("".into(), 10));
    }

    #[test]
    fn what_is_drawn_piecemeal_is_the_same() {
        let (mut whole, whole_pixels) = terminal();
        let (mut pieces, pieces_pixels) = terminal();
        for number in 0..30 {
            for terminal in [&mut whole, &mut pieces] {
                terminal.line(&std::format!("{number} {}", "xyz ".repeat(number)), Style::Warning, usize::MAX);
            }
            // Two rows at a time never get to the end while everything scrolls.
            let mut left = 2;
            pieces.paint(|| {
                left -= 1;
                left >= 0
            });
        }
        assert!(whole.paint(|| true));
        assert!(!pieces.paint(|| false));
        assert!(pieces.paint(|| true));
        assert!(whole_pixels() == pieces_pixels());
        assert!(whole_pixels().contains(&0xFF_C8_3C));
        pieces.distrust();
        pieces.screen().fill((0, 0), (100, 100), Colour::WHITE);
        assert!(pieces.paint(|| true));
        assert!(whole_pixels()[..320] == pieces_pixels()[..320]);
    }

    #[test]
    fn a_screen_that_is_too_small_is_not_used() {
        assert!(Terminal::new(in_memory(319, 200).0).is_none());
        assert!(Terminal::new(in_memory(400, 159).0).is_none());
        assert_eq!(Terminal::new(in_memory(3840, 320).0).map(|terminal| terminal.scale), Some(2));
    }
}
