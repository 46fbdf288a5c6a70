//! The disk that the machine was started from, by INT 13h extensions.
//!
//! Source: T13, "BIOS Enhanced Disk Drive Services 4", functions 42h (extended read), 43h (extended write, without verifying) and 48h
//! (drive parameters).

use crate::call::{BUFFERS, Bios, Registers};
use block::{Access, Geometry, WriteCache};
use boot::disk::{DiskError, SECTOR, Sectors};
use boot::image_layout::STAGE2_ADDRESS;
use boot::last_words::Medium;

/// Sectors a call: 32 KiB, which never crosses a boundary of 64 KiB.
const SECTORS_A_CALL: usize = 64;
/// Times that a failing call is made in all.
const ATTEMPTS: u32 = 3;

/// What BIOS reads into, and writes from: the 32 KiB below the second stage, where the master boot record was.
const BOUNCE: usize = 0x8000;
const _: () = assert!(BOUNCE + SECTORS_A_CALL * SECTOR <= STAGE2_ADDRESS as usize);

/// A BIOS disk.
pub(crate) struct Disk<'a> {
    bios: &'a mut Bios,
    drive: u8,
    count: u64,
}

impl<'a> Disk<'a> {
    /// The disk with a BIOS number.
    ///
    /// # Errors
    /// If BIOS does not know it, or its sectors do not have 512 bytes.
    pub(crate) fn open(bios: &'a mut Bios, drive: u8) -> Result<Self, DiskError> {
        let parameters = bios.buffer::<30>(0);
        parameters.fill(0);
        parameters[0] = 30;
        let registers = Registers { eax: 0x4800, edx: drive.into(), esi: BUFFERS as u32, ..Registers::default() };
        // SAFETY: writes at most as much as the buffer says it has.
        let answer = unsafe { bios.call(0x13, registers) };
        if answer.carry() {
            return Err(DiskError::Read(answer.ah().into()));
        }
        let parameters = *bios.buffer::<30>(0);
        let count = parameters[16..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let size = u16::from_le_bytes([parameters[24], parameters[25]]);
        if usize::from(size) != SECTOR {
            return Err(DiskError::SectorSize(size));
        }
        Ok(Self { bios, drive, count })
    }

    /// Reads at most [`SECTORS_A_CALL`] sectors.
    fn read_piece(&mut self, first: u64, piece: &mut [u8]) -> Result<(), u8> {
        self.transfer(0x4200, first, piece.len())?;
        piece.copy_from_slice(&self.bounce()[..piece.len()]);
        Ok(())
    }

    /// Writes at most [`SECTORS_A_CALL`] sectors.
    fn write_piece(&mut self, first: u64, piece: &[u8]) -> Result<(), u8> {
        self.bounce()[..piece.len()].copy_from_slice(piece);
        self.transfer(0x4300, first, piece.len())
    }

    fn bounce(&mut self) -> &mut [u8; SECTORS_A_CALL * SECTOR] {
        // SAFETY: mapped, nobody's but the one disk's, and BIOS, which writes there, is not called as long as `self` is borrowed.
        unsafe { &mut *core::ptr::with_exposed_provenance_mut::<[u8; _]>(BOUNCE) }
    }

    /// Has BIOS fill `BOUNCE` from the disk, or the other way round, by function `eax`; the status that it fails with.
    fn transfer(&mut self, eax: u32, first: u64, len: usize) -> Result<(), u8> {
        let mut status = 0;
        for _ in 0..ATTEMPTS {
            let packet = self.bios.buffer::<16>(0);
            packet.fill(0);
            packet[0] = 16;
            packet[2] = (len / SECTOR) as u8;
            let segment = (BOUNCE / 16) as u16;
            packet[6..8].copy_from_slice(&segment.to_le_bytes());
            packet[8..16].copy_from_slice(&first.to_le_bytes());
            let registers = Registers { eax, edx: self.drive.into(), esi: BUFFERS as u32, ..Registers::default() };
            // SAFETY: as many sectors as `BOUNCE` has room for are read or written there, and nobody refers to it now.
            let answer = unsafe { self.bios.call(0x13, registers) };
            if !answer.carry() {
                return Ok(());
            }
            status = answer.ah();
            let reset = Registers { edx: self.drive.into(), ..Registers::default() };
            // SAFETY: resets the drive, and writes nothing.
            unsafe { self.bios.call(0x13, reset) };
        }
        Err(status)
    }
}

impl Medium for Disk<'_> {
    fn geometry(&self) -> Geometry {
        Geometry {
            block_size: SECTOR as u32,
            block_count: self.count,
            max_transfer_blocks: SECTORS_A_CALL as u32,
            max_write_zeroes_blocks: 0,
            queue_depth: 1,
            // BIOS knows of no flush.
            write_cache: WriteCache::Unknown,
            access: Access::ReadWrite,
        }
    }

    fn read(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), u64> {
        self.read_piece(first_block, buffer).map_err(u64::from)
    }

    fn write(&mut self, first_block: u64, bytes: &[u8]) -> Result<(), u64> {
        self.write_piece(first_block, bytes).map_err(u64::from)
    }

    fn flush(&mut self) -> Result<(), u64> {
        Ok(())
    }
}

impl Sectors for Disk<'_> {
    fn count(&self) -> u64 {
        self.count
    }

    fn read(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let mut first = first;
        for piece in buffer.chunks_mut(SECTORS_A_CALL * SECTOR) {
            let sectors = (piece.len() / SECTOR) as u64;
            if first.checked_add(sectors).is_none_or(|end| end > self.count) {
                return Err(DiskError::Read(4));
            }
            self.read_piece(first, piece).map_err(|status| DiskError::Read(status.into()))?;
            first += sectors;
        }
        Ok(())
    }
}
