//! Shows the log: on the text screen, and on the serial port.

use crate::call::{Bios, Registers};
use boot::log::{self, Level};
use boot::machine::serial::Serial;
use core::fmt::Write;

/// Shows lines of at least this level, from a mark on; without BIOS on the serial port alone.
pub(crate) fn everywhere(bios: Option<&mut Bios>, from: usize, level: Level) {
    let mut serial = Serial::new();
    let mut bios = bios;
    log::for_each_line(from, level, |line| {
        let _ = serial.write_str("boot: ");
        if let Some(bios) = &mut bios {
            "boot: ".bytes().for_each(|byte| show(bios, byte));
        }
        for byte in line {
            serial.write_byte(byte);
            if let Some(bios) = &mut bios {
                show(bios, if byte.is_ascii() { byte } else { b'?' });
            }
        }
        serial.write_byte(b'\n');
        if let Some(bios) = &mut bios {
            "\r\n".bytes().for_each(|byte| show(bios, byte));
        }
    });
}

/// The text screen's memory, and its cells.
const TEXT_SCREEN: usize = 0xB_8000;
const CELLS: usize = 80 * 25;

/// Shows the loader's own failure: its errors on the serial port, and then in the text screen's memory, white on red, without BIOS, which
/// may be what failed. Where the screen shows graphics by then, `to_text` brings text back first.
pub(crate) fn failure(to_text: impl FnOnce()) {
    everywhere(None, 0, Level::Info);
    to_text();
    let mut at = 0;
    log::for_each_line(0, Level::Error, |line| {
        for byte in "boot: ".bytes().chain(line).take(CELLS - at) {
            let cell = core::ptr::with_exposed_provenance_mut::<u16>(TEXT_SCREEN).wrapping_add(at);
            let byte = if byte.is_ascii() { byte } else { b'?' };
            // SAFETY: a cell of the text screen, or of graphics memory: nothing but the screen is there.
            unsafe { cell.write_volatile(0x4F00 | u16::from(byte)) };
            at += 1;
        }
        at = at.next_multiple_of(80).min(CELLS);
    });
}

/// Puts a character on the screen (INT 10h, teletype output).
fn show(bios: &mut Bios, byte: u8) {
    let registers = Registers { eax: 0x0E00 | u32::from(byte), ebx: 7, ..Registers::default() };
    // SAFETY: writes to the screen's memory only.
    unsafe { bios.call(0x10, registers) };
}
