//! Tests on a disk in memory.

use super::*;
use block::{Access, WriteCache};
use blockconsole::format::{TILE_BYTES, pad};
use std::string::String;
use std::vec;
use std::vec::Vec;

const TILE: usize = TILE_BYTES as usize;
const UUID: u32 = 0x1a2b_3c4d;

struct Disk {
    block: u32,
    bytes: Vec<u8>,
    writes: Vec<(u64, usize)>,
    fails: bool,
}

impl Disk {
    /// A disk of 4 MiB, which is a console if it is formatted.
    fn new(block: u32, formatted: bool) -> Self {
        let mut bytes = vec![0xEE; 4 * TILE];
        if formatted {
            bytes[..TILE].fill(0);
            bytes[..59].copy_from_slice(&Header { uuid: UUID, round: 0, tile: 0 }.encode());
            pad(&mut bytes[59..512]);
        }
        Self { block, bytes, writes: Vec::new(), fails: false }
    }

    fn text(&self, tile: usize) -> String {
        String::from_utf8_lossy(&self.bytes[tile * TILE + 59..(tile + 1) * TILE]).replace(['\0', ' '], "")
    }
}

impl Medium for Disk {
    fn geometry(&self) -> Geometry {
        Geometry {
            block_size: self.block,
            block_count: self.bytes.len() as u64 / u64::from(self.block),
            max_transfer_blocks: BUFFER as u32 / self.block,
            max_write_zeroes_blocks: 0,
            queue_depth: 1,
            write_cache: WriteCache::Volatile,
            access: Access::ReadWrite,
        }
    }

    fn read(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), u64> {
        let start = first_block as usize * self.block as usize;
        buffer.copy_from_slice(self.bytes.get(start..start + buffer.len()).ok_or(4_u64)?);
        Ok(())
    }

    fn write(&mut self, first_block: u64, bytes: &[u8]) -> Result<(), u64> {
        self.writes.push((first_block, bytes.len()));
        if self.fails {
            return Err(0xCC);
        }
        let start = first_block as usize * self.block as usize;
        self.bytes.get_mut(start..start + bytes.len()).ok_or(4_u64)?.copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), u64> {
        if self.fails { Err(0xCC) } else { Ok(()) }
    }
}

/// Writes two lines to a disk; returns how that went.
fn write_lines(disk: &mut Disk, words: &str) -> Result<(u32, u32), NotWritten> {
    let memory = vec![0_u64; Memory::SIZE as usize / 8 + 512].leak().as_mut_ptr().cast::<u8>();
    let memory = memory.wrapping_add(memory.align_offset(4096));
    let fill = |ring: &Ring<'_>| {
        for (level, end) in [(blockconsole::Level::Info, ""), (blockconsole::Level::Error, " end")] {
            ring.write(RecordHeader { time_ns: 0, cpu: 0, level }, TARGET, format_args!("{words}{end}"));
        }
        0
    };
    let mut results = Vec::new();
    // SAFETY: leaked, aligned, and of that size.
    write_records(disk, unsafe { Memory::new(memory) }, &[0xAB; 20], fill, |_, result| results.push(result));
    assert_eq!(results.len(), 1);
    results[0]
}

#[test]
fn a_console_gets_the_log_as_a_boot_of_its_own() {
    for block in [512, 4096] {
        let mut disk = Disk::new(block, true);
        for boot in 1..=3_usize {
            let before = disk.bytes.clone();
            let words = format!("first words {block} {boot}");
            assert_eq!(write_lines(&mut disk, &words), Ok((UUID, boot as u32)));
            let text = disk.text(boot);
            assert!(text.contains(&format!("boot{boot}of{UUID:08x}:blockconsole")), "{text}");
            assert!(text.contains(&format!("INFOboot:firstwords{block}{boot}\n")), "{text}");
            assert!(text.ends_with(&format!("ERRORboot:firstwords{block}{boot}end\n\n")), "{text}");
            for tile in (0..4).filter(|tile| *tile != boot) {
                let range = tile * TILE..(tile + 1) * TILE;
                assert!(disk.bytes[range.clone()] == before[range], "tile {tile} was touched");
            }
        }
    }
}

#[test]
fn nothing_unmarked_is_written() {
    let mut disk = Disk::new(512, false);
    assert_eq!(write_lines(&mut disk, "nowhere to go"), Err(NotWritten::NoConsole));
    assert!(disk.writes.is_empty());
}

#[test]
fn a_disk_that_fails_ends_the_attempt() {
    let mut disk = Disk { fails: true, ..Disk::new(512, true) };
    let result = write_lines(&mut disk, "failing");
    assert!(matches!(result, Err(NotWritten::Stopped(Reason::Failing(_)))), "{result:?}");
    assert!(disk.writes.len() < 100);
}
