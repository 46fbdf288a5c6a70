//! A machine in miniature, and a reader that knows nothing of the writer.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

pub mod cuts;
pub mod reader;
pub mod rig;

pub use reader::Log;
pub use rig::{Rig, UUID};

use block_fake::{Disk, Settings};

pub const MIB: u64 = 1 << 20;

/// The header of a tile, written out by hand.
pub fn header(uuid: u32, round: u32, tile: u32) -> Vec<u8> {
    format!("\nLinux blockconsole version 1.1\n{uuid:08x}\n{round:08x}\n{tile:08x}\n").into_bytes()
}

/// What `mkblockconsole` leaves: the first sector has a header and blanks, the rest of the first MiB is zero.
pub fn formatted(settings: Settings) -> Disk {
    let disk = Disk::new(settings);
    let mut first = vec![0; MIB as usize];
    first[..512].fill(b' ');
    first[511] = b'\n';
    let header = header(UUID, 0, 0);
    first[..header.len()].copy_from_slice(&header);
    disk.put(0, &first);
    disk
}

/// A formatted disk of so many tiles.
pub fn disk(block_size: u32, tiles: u64) -> Disk {
    formatted(Settings { blank: b'S', ..Settings::new(block_size, tiles * MIB) })
}
