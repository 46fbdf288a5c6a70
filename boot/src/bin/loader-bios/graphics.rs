//! A framebuffer by VESA's extensions.
//!
//! Source: VESA, "VBE Core Functions Standard", version 3.0, functions 00h to 02h.

use crate::call::{BUFFERS, Bios, Registers};
use boot::elf::{u16_at, u32_at};
use boot::log;
use bootloader_api::info::{FrameBufferInfo, PixelFormat};
use core::sync::atomic::{AtomicBool, Ordering};

/// Offset of the mode's description in the buffers, behind the controller's.
const MODE: usize = 512;
/// Most modes that are looked at.
const MAX_MODES: usize = 256;
/// The largest mode that is taken: what every screen since 2000 shows.
const LARGEST: (usize, usize) = (1280, 1024);

static IS_ON: AtomicBool = AtomicBool::new(false);

/// A graphics mode with a framebuffer.
#[derive(Clone, Copy)]
struct Mode {
    number: u16,
    address: u64,
    info: FrameBufferInfo,
}

/// Switches to the best graphics mode; `None` if there is none. The text screen is gone then.
pub(crate) fn framebuffer(bios: &mut Bios) -> Option<(u64, FrameBufferInfo)> {
    let Some(mode) = best_mode(bios) else {
        log::info(format_args!("no framebuffer"));
        return None;
    };
    // Bit 14: by framebuffer.
    let registers = Registers { eax: 0x4F02, ebx: u32::from(mode.number) | 1 << 14, ..Registers::default() };
    // SAFETY: sets the mode, and writes to the screen's memory only.
    let answer = unsafe { bios.call(0x10, registers) };
    let set = answer.eax & 0xFFFF == 0x4F;
    IS_ON.store(set, Ordering::Relaxed);
    let info = mode.info;
    log::info(format_args!(
        "framebuffer at {:#x}, {}x{}, {:?}{}",
        mode.address,
        info.width,
        info.height,
        info.pixel_format,
        if set { "" } else { ": cannot be set" }
    ));
    set.then_some((mode.address, info))
}

/// Whether the screen shows graphics.
pub(crate) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Switches back to the text screen, cleared.
pub(crate) fn text(bios: &mut Bios) {
    // SAFETY: sets mode 3, and writes to the screen's memory only.
    unsafe { bios.call(0x10, Registers { eax: 0x0003, ..Registers::default() }) };
}

fn best_mode(bios: &mut Bios) -> Option<Mode> {
    let controller = bios.buffer::<512>(0);
    controller.fill(0);
    controller[..4].copy_from_slice(b"VBE2");
    // SAFETY: writes the 512 bytes that it was given.
    let answer = unsafe { bios.call(0x10, Registers { eax: 0x4F00, edi: BUFFERS as u32, ..Registers::default() }) };
    let controller = *bios.buffer::<512>(0);
    if answer.eax & 0xFFFF != 0x4F || &controller[..4] != b"VESA" || u16_at(&controller, 4)? < 0x200 {
        return None;
    }
    // A real-mode pointer, most often into the controller's own description: copied before it is overwritten.
    let list = usize::from(u16_at(&controller, 16)?) * 16 + usize::from(u16_at(&controller, 14)?);
    let mut modes = [0xFFFF_u16; MAX_MODES];
    for (number, mode) in modes.iter_mut().enumerate() {
        let at = core::ptr::with_exposed_provenance::<u16>(list + number * 2);
        // SAFETY: a real-mode pointer reaches 1 MiB and 64 KiB, all of it mapped; any bytes will do.
        *mode = unsafe { at.read_unaligned() };
        if *mode == 0xFFFF {
            break;
        }
    }
    let known = modes.into_iter().take_while(|number| *number != 0xFFFF);
    let suitable = known.filter_map(|number| describe(bios, number));
    suitable.max_by_key(|mode| (mode.info.width * mode.info.height, mode.info.bytes_per_pixel))
}

/// A mode's description, if it is one for us: direct colours in 3 or 4 bytes, a framebuffer, not too large.
fn describe(bios: &mut Bios, number: u16) -> Option<Mode> {
    bios.buffer::<256>(MODE).fill(0);
    let edi = (BUFFERS + MODE) as u32;
    let registers = Registers { eax: 0x4F01, ecx: number.into(), edi, ..Registers::default() };
    // SAFETY: writes the 256 bytes that it was given.
    let answer = unsafe { bios.call(0x10, registers) };
    let mode = *bios.buffer::<256>(MODE);
    let attributes = u16_at(&mode, 0)?;
    // Supported, colour, graphics, framebuffer.
    let wanted = 1 << 0 | 1 << 3 | 1 << 4 | 1 << 7;
    let (bits, model) = (usize::from(mode[25]), mode[27]);
    if answer.eax & 0xFFFF != 0x4F || attributes & wanted != wanted || !matches!(bits, 24 | 32) || model != 6 {
        return None;
    }
    let (pitch, width, height) =
        (usize::from(u16_at(&mode, 16)?), usize::from(u16_at(&mode, 18)?), usize::from(u16_at(&mode, 20)?));
    let bytes_per_pixel = bits / 8;
    let stride = pitch / bytes_per_pixel;
    let address = u64::from(u32_at(&mode, 40)?);
    if width > LARGEST.0 || height > LARGEST.1 || stride < width || address == 0 {
        return None;
    }
    let (red_position, green_position, blue_position) = (mode[32], mode[34], mode[36]);
    let pixel_format = match (red_position, green_position, blue_position) {
        (16, 8, 0) => PixelFormat::Bgr,
        (0, 8, 16) => PixelFormat::Rgb,
        _ => PixelFormat::Unknown { red_position, green_position, blue_position },
    };
    let byte_len = pitch * height;
    Some(Mode {
        number,
        address,
        info: FrameBufferInfo { byte_len, width, height, pixel_format, bytes_per_pixel, stride },
    })
}
