//! Reads kernel and command line from the partition of the loader.

use crate::memory;
use boot::{Error, log};
use uefi::boot as firmware;
use uefi::proto::media::file::{File, FileAttribute, FileInfo, FileMode, RegularFile};
use uefi::{CStr16, cstr16};

const KERNEL: &CStr16 = cstr16!("\\blockconsole\\kernel");
const COMMAND_LINE: &CStr16 = cstr16!("\\blockconsole\\cmdline.txt");

/// Largest kernel file: 1 GiB.
const MAX_KERNEL: u64 = 1 << 30;

/// Reads the kernel's file into memory of its own, which is never given back.
pub(crate) fn read_kernel() -> Result<&'static [u8], Error> {
    let missing = Error::NoKernel("put it at \\blockconsole\\kernel on the partition of BOOTX64.EFI");
    let unreadable = |error: uefi::Error| Error::Unreadable { what: "the kernel's file", status: status(&error) };
    let mut file = match open(KERNEL) {
        Ok(file) => file.ok_or(missing)?,
        Err(error) if error.status() == uefi::Status::NOT_FOUND => return Err(missing),
        Err(error) => return Err(unreadable(error)),
    };
    let size = size_of_file(&mut file).map_err(unreadable)?;
    if size > MAX_KERNEL {
        return Err(Error::OutOfMemory { purpose: "the kernel's file", wanted: size, free: MAX_KERNEL });
    }
    let start = memory::allocate("the kernel's file", size)?;
    // SAFETY: just allocated, of at least that size, zeroed, and nobody else's; firmware maps it at its own address.
    let buffer = unsafe { core::slice::from_raw_parts_mut(start, size as usize) };
    let read = file.read(buffer).map_err(unreadable)?;
    log::info(format_args!("kernel file {KERNEL}, {read} bytes"));
    Ok(&buffer[..read])
}

/// Reads as much of the command line as the buffer has room for, and returns its size as well; it is empty if there is none.
pub(crate) fn read_command_line(buffer: &mut [u8]) -> (&[u8], u64) {
    let read = match open(COMMAND_LINE) {
        Ok(Some(mut file)) => size_of_file(&mut file).and_then(|size| Ok((file.read(buffer)?, size))),
        Ok(None) => {
            log::warn(format_args!("no {COMMAND_LINE}: the command line is empty"));
            Ok((0, 0))
        }
        Err(error) => Err(error),
    };
    match read {
        Ok((len, size)) => (&buffer[..len], size),
        Err(error) => {
            log::warn(format_args!("cannot read {COMMAND_LINE}: firmware says {:#x}", status(&error)));
            (&[], 0)
        }
    }
}

fn size_of_file(file: &mut RegularFile) -> uefi::Result<u64> {
    let mut info = [0_u64; 64];
    let info = file.get_info::<FileInfo>(bytes_of(&mut info));
    Ok(info.map_err(|error| error.to_err_without_payload())?.file_size())
}

/// Opens a file; `None` if there is none of that name, or it is a directory.
fn open(path: &CStr16) -> uefi::Result<Option<RegularFile>> {
    let mut volume = firmware::get_image_file_system(firmware::image_handle())?;
    let mut root = volume.open_volume()?;
    match root.open(path, FileMode::Read, FileAttribute::empty()) {
        Ok(file) => Ok(file.into_regular_file()),
        Err(error) if error.status() == uefi::Status::NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    }
}

fn status(error: &uefi::Error) -> u64 {
    error.status().0 as u64
}

/// The bytes of words: file information must be aligned to 8.
fn bytes_of(words: &mut [u64; 64]) -> &mut [u8] {
    // SAFETY: words are plain memory, and every byte is a valid byte.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of::<[u64; 64]>()) }
}
