//! The framebuffer that firmware leaves behind.

use boot::log;
use bootloader_api::info::{FrameBufferInfo, PixelFormat};
use uefi::boot::{self as firmware, OpenProtocolAttributes, OpenProtocolParams, SearchType};
use uefi::proto::console::gop::{GraphicsOutput, PixelFormat as Format};
use uefi::{Handle, Identify};

/// Physical address and shape of the framebuffer in the mode that firmware set; `None` if there is none that memory can reach.
pub(crate) fn framebuffer() -> Option<(u64, FrameBufferInfo)> {
    let found = find();
    match &found {
        Some((address, info)) => log::info(format_args!(
            "framebuffer at {address:#x}, {}x{}, {:?}",
            info.width, info.height, info.pixel_format
        )),
        None => log::info(format_args!("no framebuffer")),
    }
    found
}

fn find() -> Option<(u64, FrameBufferInfo)> {
    // With several graphics adapters, the first one may be without a framebuffer, or a screen.
    let handles = firmware::locate_handle_buffer(SearchType::ByProtocol(&GraphicsOutput::GUID)).ok()?;
    handles.iter().find_map(|handle| describe(*handle))
}

fn describe(handle: Handle) -> Option<(u64, FrameBufferInfo)> {
    let params = OpenProtocolParams { handle, agent: firmware::image_handle(), controller: None };
    // SAFETY: only read, and nobody takes the device away meanwhile. To have it exclusively would take it from firmware's own
    // console, which the loader still needs.
    let output = unsafe { firmware::open_protocol::<GraphicsOutput>(params, OpenProtocolAttributes::GetProtocol) };
    let mut output = output.ok()?;
    let mode = output.current_mode_info();
    let (width, height) = mode.resolution();
    let pixel_format = match mode.pixel_format() {
        Format::Rgb => PixelFormat::Rgb,
        Format::Bgr => PixelFormat::Bgr,
        Format::Bitmask => {
            let mask = mode.pixel_bitmask()?;
            PixelFormat::Unknown {
                red_position: mask.red.trailing_zeros() as u8,
                green_position: mask.green.trailing_zeros() as u8,
                blue_position: mask.blue.trailing_zeros() as u8,
            }
        }
        Format::BltOnly => return None,
    };
    let mut buffer = output.frame_buffer();
    let stride = mode.stride();
    let byte_len = stride.checked_mul(height)?.checked_mul(4).filter(|len| *len <= buffer.size() && width <= stride)?;
    let info = FrameBufferInfo { byte_len, width, height, pixel_format, bytes_per_pixel: 4, stride };
    Some((buffer.as_mut_ptr().addr() as u64, info)).filter(|(address, _)| *address != 0)
}
