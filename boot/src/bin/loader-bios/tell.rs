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

/// Puts a character on the screen (INT 10h, teletype output).
fn show(bios: &mut Bios, byte: u8) {
    let registers = Registers { eax: 0x0E00 | u32::from(byte), ebx: 7, ..Registers::default() };
    // SAFETY: writes to the screen's memory only.
    unsafe { bios.call(0x10, registers) };
}
