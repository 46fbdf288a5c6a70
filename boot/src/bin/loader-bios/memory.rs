//! The machine's memory map, and the gate of address line 20.
//!
//! Source: ACPI 6.5, section 15.1 (INT 15h, E820); IBM PS/2 Technical Reference (port 92h, keyboard controller).

use crate::call::{BUFFERS, Bios, Registers};
use boot::Error;
use boot::elf::{u32_at, u64_at};
use boot::image_layout::STAGE2_END;
use boot::machine::port;
use boot::memory_map::{LOW_MEMORY_END, MemoryMap};
use bootloader_api::info::MemoryRegionKind;

const SMAP: u32 = 0x534D_4150;
/// Most entries that are taken.
const MAX_ENTRIES: usize = 256;

/// Checks that what BIOS keeps for itself below 640 KiB lies behind this program.
pub(crate) fn check_low() -> Result<(), Error> {
    /// In BIOS's data area: KiB of memory before that.
    const BASE_MEMORY: usize = 0x413;
    let size = core::ptr::with_exposed_provenance::<u16>(BASE_MEMORY);
    // SAFETY: BIOS's data area, which is mapped; any bytes will do.
    let kib = u64::from(unsafe { size.read_unaligned() });
    if kib * 1024 < STAGE2_END {
        return Err(Error::Firmware("576 KiB of free memory below 640 KiB"));
    }
    Ok(())
}

/// Asks BIOS for the memory map.
pub(crate) fn map(bios: &mut Bios) -> Result<MemoryMap, Error> {
    let mut entries = [(0, 0, MemoryRegionKind::Usable); MAX_ENTRIES];
    let mut count = 0;
    let mut continuation = 0;
    for entry in &mut entries {
        let buffer = bios.buffer::<24>(0);
        buffer.fill(0);
        // In the extended attributes: the entry counts.
        buffer[20] = 1;
        let registers = Registers {
            eax: 0xE820,
            ebx: continuation,
            ecx: 24,
            edx: SMAP,
            edi: BUFFERS as u32,
            ..Registers::default()
        };
        // SAFETY: writes at most the 24 bytes that it was given.
        let answer = unsafe { bios.call(0x15, registers) };
        // A carry after the first entry is how some say that there are no more.
        if answer.carry() || answer.eax != SMAP {
            break;
        }
        let bytes = *bios.buffer::<24>(0);
        let kind = MemoryMap::e820_kind(u32_at(&bytes, 16).unwrap_or(0));
        // Some say that they give less than these attributes, and clear them nevertheless.
        let counts = answer.ecx < 24 || bytes[20] & 1 != 0;
        let size = if counts { u64_at(&bytes, 8).unwrap_or(0) } else { 0 };
        *entry = (u64_at(&bytes, 0).unwrap_or(0), size, kind);
        count += 1;
        continuation = answer.ebx;
        if continuation == 0 {
            break;
        }
    }
    if count == 0 {
        return Err(Error::Firmware("memory map (INT 15h, E820)"));
    }
    Ok(MemoryMap::from_firmware(entries[..count].iter().copied())?)
}

/// Lets address line 20 through, so that every other MiB is not a shadow of the one below it.
pub(crate) fn open_a20(bios: &mut Bios) -> Result<(), Error> {
    let ways: [fn(&mut Bios); 4] = [|_| (), a20_by_bios, a20_by_port_92, a20_by_keyboard];
    for way in ways {
        way(bios);
        if is_a20_open() {
            return Ok(());
        }
    }
    Err(Error::Firmware("way to open address line 20"))
}

/// Whether a word in low memory differs from its neighbour 1 MiB above. The gate may take a moment.
fn is_a20_open() -> bool {
    let low = core::ptr::with_exposed_provenance_mut::<u32>(BUFFERS);
    let high = core::ptr::with_exposed_provenance_mut::<u32>(BUFFERS + LOW_MEMORY_END as usize);
    // SAFETY: `low` is a buffer for BIOS, and `high` either the same or free memory that nothing has been put into yet; both are mapped
    // and aligned.
    unsafe {
        for attempt in 0..1000 {
            low.write_volatile(attempt);
            high.write_volatile(!attempt);
            if low.read_volatile() == attempt {
                return true;
            }
        }
    }
    false
}

fn a20_by_bios(bios: &mut Bios) {
    // SAFETY: opens the gate, and writes nothing.
    unsafe { bios.call(0x15, Registers { eax: 0x2401, ..Registers::default() }) };
}

fn a20_by_port_92(_: &mut Bios) {
    const CONTROL: u16 = 0x92;
    // SAFETY: bit 1 is the gate; bit 0 would reset the machine, and is cleared.
    unsafe { port::write8(CONTROL, port::read8(CONTROL) & !1 | 2) };
}

fn a20_by_keyboard(_: &mut Bios) {
    const DATA: u16 = 0x60;
    const STATUS: u16 = 0x64;
    let wait = || {
        // SAFETY: reading the status has no effect.
        let _ = (0..100_000).find(|_| unsafe { port::read8(STATUS) } & 2 == 0);
    };
    wait();
    // SAFETY: the controller's commands to write its output port, in which bit 1 is the gate and bit 0, which is set, keeps the
    // machine from being reset.
    unsafe {
        port::write8(STATUS, 0xD1);
        wait();
        port::write8(DATA, 0xDF);
    }
    wait();
}
