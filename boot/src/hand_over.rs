//! What the kernel finds: boot information, command line, the loader's log.
//!
//! # The ramdisk
//! `bootloader_api` has no field for a command line. It travels as the ramdisk:
//!
//! ```text
//! <command line, without NUL> [ NUL <the loader's log> [ NUL <words> ] ]
//! ```
//!
//! The length is `ramdisk_len`. The log's lines are as [`crate::log`] says. The words, with spaces in between, are what else the loader
//! knows: `smbios=0x<physical address of an entry point>`. Other loaders for `bootloader_api` give
//! the contents of a file, without a NUL: a command line alone. The command line has no control characters;
//! it need not be UTF-8, and is at most [`MAX_COMMAND_LINE`] bytes long.

use crate::error::Error;
use crate::frames::Frames;
use crate::log;
use crate::memory_map::{MAX_REGIONS, MemoryMap};
use bootloader_api::BootInfo;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind, MemoryRegions};
use core::fmt::{self, Write};
use core::mem::offset_of;
use core::ops::Range;

/// Longest command line, in bytes. A longer one is cut at the end of a word, with a warning.
pub const MAX_COMMAND_LINE: usize = 4096;

/// Bytes of [`BootInfo`], up to where the memory regions start.
const BOOT_INFO_SIZE: usize = size_of::<BootInfo>().next_multiple_of(align_of::<MemoryRegion>());
/// Size of the block with the boot information and the memory regions behind it.
pub(crate) const BLOCK_SIZE: u64 = (BOOT_INFO_SIZE + MAX_REGIONS * size_of::<MemoryRegion>()) as u64;
/// Size of the block with command line and log.
pub(crate) const RAMDISK_SIZE: u64 = (MAX_COMMAND_LINE + 1 + log::CAPACITY + MAX_WORDS) as u64;
/// Most bytes of the words behind the log, with their NUL.
const MAX_WORDS: usize = 64;

/// A piece of allocated memory, and where the kernel sees it.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) physical: Range<u64>,
    pub(crate) address: u64,
}

/// Allocates memory, or says what for there is not enough.
pub(crate) fn allocate(frames: &mut Frames, purpose: &'static str, size: u64) -> Result<Range<u64>, Error> {
    frames.allocate(size).ok_or(Error::OutOfMemory { purpose, wanted: size, free: frames.free() })
}

/// Takes what is not a command line off a text: a UTF-8 byte order mark, everything from a NUL on, control characters (a
/// line feed becomes a space), spaces at its ends, words beyond [`MAX_COMMAND_LINE`]. Returns the length of what it wrote to `out`.
///
/// `size` is the number of bytes where it comes from, of which `text` may be the beginning only.
pub fn clean_command_line(text: &[u8], size: u64, out: &mut [u8; MAX_COMMAND_LINE]) -> usize {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let space = |byte: &u8| byte.is_ascii_control() || *byte == b' ';
    let start = text.iter().position(|byte| !space(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !space(byte)).map_or(start, |last| last + 1);
    let text = &text[start..end];
    let mut len = text.len();
    if len > MAX_COMMAND_LINE {
        len = text[..=MAX_COMMAND_LINE].iter().rposition(space).unwrap_or(MAX_COMMAND_LINE);
        log::warn(format_args!(
            "the command line has {size} bytes, {MAX_COMMAND_LINE} at most are taken: cut after {len}"
        ));
    }
    for (to, from) in out.iter_mut().zip(&text[..len]) {
        *to = if space(from) { b' ' } else { *from };
    }
    len
}

/// Writes command line, log and words into their block; returns their length.
pub(crate) fn write_ramdisk(frames: &mut Frames, block: &Block, command_line: &[u8], smbios: Option<u64>) -> u64 {
    let Some(out) = frames.bytes_mut(block.physical.clone()) else { return 0 };
    let len = command_line.len().min(MAX_COMMAND_LINE);
    let Some((text, rest)) = out.split_at_mut_checked(len) else { return 0 };
    text.copy_from_slice(&command_line[..len]);
    // `rest` begins with a zero byte, the separator: allocated memory is zeroed.
    let log = rest.get_mut(1..).and_then(|rest| rest.get_mut(..log::CAPACITY)).map_or(0, log::copy_to);
    let words = smbios.and_then(|address| write_words(rest.get_mut(1 + log + 1..)?, address)).map_or(0, |len| 1 + len);
    (len + 1 + log + words) as u64
}

/// Writes what else there is to hand over; returns its length.
fn write_words(out: &mut [u8], smbios: u64) -> Option<usize> {
    let room = out.len();
    let mut rest = out;
    write!(Words(&mut rest), "smbios={smbios:#x}").ok()?;
    Some(room - rest.len())
}

/// Bytes that are written from their start on.
struct Words<'a, 'b>(&'a mut &'b mut [u8]);

impl fmt::Write for Words<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let (room, rest) = core::mem::take(self.0).split_at_mut_checked(text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        *self.0 = rest;
        Ok(())
    }
}

/// Writes boot information and memory regions into their block.
pub(crate) fn write_boot_info(frames: &mut Frames, block: &Block, mut info: BootInfo, map: &MemoryMap) {
    info.memory_regions = MemoryRegions::from(&mut [][..]);
    let regions = map.regions();
    let Some(out) = frames.bytes_mut(block.physical.clone()) else { return };
    let (start, behind) = (out.as_mut_ptr(), BOOT_INFO_SIZE);
    debug_assert!(behind + size_of_val(regions) <= out.len());
    // The kernel's own addresses, which mean nothing here: no slice can be made of them, so they are put into the
    // written structure as the two words that `MemoryRegions` is made of (checked by a test).
    let words = [block.address + behind as u64, regions.len() as u64];
    // SAFETY: the block is BLOCK_SIZE bytes long, exclusively ours, and page-aligned; `MAX_REGIONS`, which no map
    // exceeds, fit behind the structure, whose size is a multiple of their alignment. Both types are plain data that need
    // no drop, and the two words lie inside the structure, aligned as it is.
    unsafe {
        start.cast::<BootInfo>().write(info);
        start.add(offset_of!(BootInfo, memory_regions)).cast::<[u64; 2]>().write(words);
        start.add(behind).cast::<MemoryRegion>().copy_from_nonoverlapping(regions.as_ptr(), regions.len());
    }
}

/// The map that the kernel gets: firmware's, with what the loader leaves in memory marked.
pub(crate) fn mark_ours(
    map: &mut MemoryMap,
    frames: &Frames,
    kept: impl Iterator<Item = Range<u64>>,
) -> Result<(), Error> {
    for range in frames.allocated().chain(kept) {
        map.mark(range, MemoryRegionKind::Bootloader)?;
    }
    map.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    fn clean(text: &[u8]) -> Vec<u8> {
        let mut out = [0xEE; MAX_COMMAND_LINE];
        let len = clean_command_line(text, text.len() as u64, &mut out);
        out[..len].to_vec()
    }

    #[test]
    fn a_text_becomes_a_command_line() {
        for (text, line) in [
            (&b""[..], &b""[..]),
            (b"  \n\t ", b""),
            (b"app=diag", b"app=diag"),
            (b" a=1\tb=2\r\nc=3 \n", b"a=1 b=2  c=3"),
            (b"a=1\0b=2", b"a=1"),
            (b"\0a=1", b""),
            (b"\xEF\xBB\xBFa=\xFF\xC3\xA9", b"a=\xFF\xC3\xA9"),
        ] {
            assert_eq!(clean(text), line, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_long_one_is_cut_between_words() {
        let words = b"0123456789 ".repeat(1000);
        let line = clean(&words);
        assert_eq!(line.len(), MAX_COMMAND_LINE / 11 * 11 - 1);
        assert!(line.ends_with(b" 0123456789"));
        assert_eq!(clean(&[b'x'; 9000]).len(), MAX_COMMAND_LINE);
        let exact = [b'x'; MAX_COMMAND_LINE];
        assert_eq!(clean(&exact), exact);
        let mut one_more = exact.to_vec();
        one_more.extend(b" y");
        assert_eq!(clean(&one_more), exact);
    }

    proptest! {
        #[test]
        fn what_is_handed_over_is_clean(text in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let line = clean(&text);
            prop_assert!(line.len() <= MAX_COMMAND_LINE);
            prop_assert!(line.iter().all(|byte| !byte.is_ascii_control()));
            prop_assert!(line.first() != Some(&b' ') && line.last() != Some(&b' '));
            prop_assert_eq!(clean(&line), line);
        }
    }
}
