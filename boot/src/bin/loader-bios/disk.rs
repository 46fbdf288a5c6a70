//! The disk that the machine was started from, read by INT 13h extensions.
//!
//! Source: T13, "BIOS Enhanced Disk Drive Services 4", sections 8.22.4 (extended read) and 8.22.9 (drive parameters).

use crate::call::{BUFFERS, Bios, Registers};
use boot::disk::{DiskError, SECTOR, Sectors};
use core::cell::UnsafeCell;

/// Sectors a call: 32 KiB, which never crosses a boundary of 64 KiB.
const SECTORS_A_CALL: usize = 64;
/// Times that a failing read is made in all.
const ATTEMPTS: u32 = 3;

/// What BIOS reads into: in the loader's image, and so below 1 MiB.
#[repr(align(32768))]
struct Bounce(UnsafeCell<[u8; SECTORS_A_CALL * SECTOR]>);

// SAFETY: only the one `Disk` uses it.
unsafe impl Sync for Bounce {}

static BOUNCE: Bounce = Bounce(UnsafeCell::new([0; SECTORS_A_CALL * SECTOR]));

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
        if usize::from(u16::from_le_bytes([parameters[24], parameters[25]])) != SECTOR {
            return Err(DiskError::FileSystem("its sectors do not have 512 bytes"));
        }
        Ok(Self { bios, drive, count })
    }

    /// Reads at most [`SECTORS_A_CALL`] sectors.
    fn read_piece(&mut self, first: u64, piece: &mut [u8]) -> Result<(), DiskError> {
        let mut status = 0;
        for _ in 0..ATTEMPTS {
            let packet = self.bios.buffer::<16>(0);
            packet.fill(0);
            packet[0] = 16;
            packet[2] = (piece.len() / SECTOR) as u8;
            let segment = (BOUNCE.0.get().addr() / 16) as u16;
            packet[6..8].copy_from_slice(&segment.to_le_bytes());
            packet[8..16].copy_from_slice(&first.to_le_bytes());
            let registers =
                Registers { eax: 0x4200, edx: self.drive.into(), esi: BUFFERS as u32, ..Registers::default() };
            // SAFETY: writes as many sectors to `BOUNCE` as it has room for, and nobody refers to it now.
            let answer = unsafe { self.bios.call(0x13, registers) };
            if !answer.carry() {
                // SAFETY: nothing writes to it until the next call, which `&mut self` keeps away.
                let bounce = unsafe { &*BOUNCE.0.get() };
                piece.copy_from_slice(&bounce[..piece.len()]);
                return Ok(());
            }
            status = answer.ah();
            let reset = Registers { edx: self.drive.into(), ..Registers::default() };
            // SAFETY: resets the drive, and writes nothing.
            unsafe { self.bios.call(0x13, reset) };
        }
        Err(DiskError::Read(status.into()))
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
            self.read_piece(first, piece)?;
            first += sectors;
        }
        Ok(())
    }
}
