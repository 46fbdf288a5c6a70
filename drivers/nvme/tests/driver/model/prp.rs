//! The model's own walk over physical region pages and scatter gather lists.

use platform_fake::Bus;

use super::Entry;

const PAGE: u64 = 4096;

/// Where the `len` bytes of a command are, piece by piece.
pub(crate) fn pieces(bus: &Bus, entry: &Entry, len: usize) -> Result<Vec<(u64, usize)>, String> {
    match entry.flags >> 6 {
        0 => walk(bus, entry.prp1, entry.prp2, len),
        // One data block descriptor: address, length, type 0.
        1 if entry.prp2 == len as u64 => Ok(vec![(entry.prp1, len)]),
        other => Err(format!("data pointer of kind {other}, {:#x} for {len} bytes", entry.prp2)),
    }
}

/// Where `len` bytes are that PRPs describe.
fn walk(bus: &Bus, prp1: u64, prp2: u64, len: usize) -> Result<Vec<(u64, usize)>, String> {
    if !prp1.is_multiple_of(4) {
        return Err(format!("PRP1 {prp1:#x} is not a multiple of 4"));
    }
    let mut left = len;
    let first = left.min((PAGE - prp1 % PAGE) as usize);
    let mut pieces = vec![(prp1, first)];
    left -= first;
    if left == 0 {
        return Ok(pieces);
    }
    if left <= PAGE as usize {
        if !prp2.is_multiple_of(PAGE) {
            return Err(format!("PRP2 {prp2:#x} has an offset"));
        }
        pieces.push((prp2, left));
        return Ok(pieces);
    }
    if !prp2.is_multiple_of(8) {
        return Err(format!("PRP list {prp2:#x} is not a multiple of 8"));
    }
    let mut at = prp2;
    while left > 0 {
        let is_last_in_page = at % PAGE == PAGE - 8;
        let mut bytes = [0; 8];
        bus.read(at, &mut bytes).map_err(|fault| format!("PRP list: {fault:?}"))?;
        let page = u64::from_le_bytes(bytes);
        if is_last_in_page && left > PAGE as usize {
            at = page;
            continue;
        }
        if !page.is_multiple_of(PAGE) {
            return Err(format!("PRP list entry {page:#x} has an offset"));
        }
        let piece = left.min(PAGE as usize);
        pieces.push((page, piece));
        left -= piece;
        at += 8;
    }
    Ok(pieces)
}
