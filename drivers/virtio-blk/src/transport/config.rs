//! Device configuration, read and written in the widths of its fields.

use platform::Registers;
use virtio_drivers::{Error, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Reads a field at `offset` of the configuration, which begins at `start` of the window.
pub(super) fn read<T: FromBytes + IntoBytes>(registers: &impl Registers, start: usize, offset: usize) -> Result<T> {
    let mut value = T::new_zeroed();
    let bytes = value.as_mut_bytes();
    let place = place(registers, start, offset, bytes.len())?;
    match bytes.len() {
        2 if place.is_multiple_of(2) => bytes.copy_from_slice(&registers.read16(place).to_le_bytes()),
        len if len.is_multiple_of(4) && place.is_multiple_of(4) => {
            for (index, word) in bytes.chunks_exact_mut(4).enumerate() {
                word.copy_from_slice(&registers.read32(place + 4 * index).to_le_bytes());
            }
        }
        _ => {
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = registers.read8(place + index);
            }
        }
    }
    Ok(value)
}

/// Writes a field.
pub(super) fn write<T: IntoBytes + Immutable>(
    registers: &impl Registers,
    start: usize,
    offset: usize,
    value: &T,
) -> Result<()> {
    let bytes = value.as_bytes();
    let place = place(registers, start, offset, bytes.len())?;
    for (index, byte) in bytes.iter().enumerate() {
        registers.write8(place + index, *byte);
    }
    Ok(())
}

fn place(registers: &impl Registers, start: usize, offset: usize, len: usize) -> Result<usize> {
    let place = start.checked_add(offset).ok_or(Error::ConfigSpaceTooSmall)?;
    match place.checked_add(len) {
        Some(end) if end <= registers.len() => Ok(place),
        _ => Err(Error::ConfigSpaceTooSmall),
    }
}
