//! Physical region pages: where a command's data are (base 4.1.1).
//!
//! The first pointer may start inside a page; the second is the second page, or a list of
//! all pages from the second on. Our buffers are contiguous, so a list is arithmetic; each
//! command slot has room for its own, which never crosses a page, so that no list needs a link to another.

use platform::DmaBuffer;

use crate::spec::PAGE_SIZE;

/// Bytes a list takes for transfers of up to `max_transfer` bytes from any offset in a page: a power of two.
pub(crate) const fn list_bytes(max_transfer: u32) -> usize {
    let pages = (max_transfer as usize).div_ceil(PAGE_SIZE);
    // One page more for data that start inside a page, less the first one, which is not in the list.
    let entries = if pages == 0 { 1 } else { pages };
    (entries * 8).next_power_of_two()
}

const _: () = assert!(list_bytes(crate::config::MAX_TRANSFER) <= PAGE_SIZE);

/// Whether `len` bytes at bus address `start` lie in more than two pages, and so take a list.
pub(crate) fn needs_list(start: u64, len: usize) -> bool {
    let page = PAGE_SIZE as u64;
    (start % page).saturating_add(len as u64) > 2 * page
}

/// Describes `len` bytes at bus address `start`, with the list, if it takes one, at `offset` of `lists`.
///
/// `None` if the address is not a multiple of 4, or the list does not fit.
pub(crate) fn describe(
    start: u64,
    len: usize,
    lists: &mut DmaBuffer,
    offset: usize,
    room: usize,
) -> Option<(u64, u64)> {
    let page = PAGE_SIZE as u64;
    if !start.is_multiple_of(4) || len == 0 {
        return None;
    }
    let end = start.checked_add(len as u64)?;
    let second = (start & !(page - 1)).checked_add(page)?;
    if end <= second {
        return Some((start, 0));
    }
    let rest = (end - second).div_ceil(page);
    if rest == 1 {
        return Some((start, second));
    }
    let rest = usize::try_from(rest).ok()?;
    if rest.checked_mul(8)? > room {
        return None;
    }
    for index in 0..rest {
        if !lists.write::<u64>(offset + 8 * index, second + page * index as u64) {
            return None;
        }
    }
    Some((start, lists.bus_address().checked_add(offset as u64)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MAX_TRANSFER;
    use platform_fake::Machine;

    fn lists() -> DmaBuffer {
        Machine::new().bus().allocate(2 * PAGE_SIZE, PAGE_SIZE).unwrap()
    }

    #[test]
    fn a_list_has_room_for_the_largest_transfer_from_any_offset() {
        let (mut lists, room) = (lists(), list_bytes(MAX_TRANSFER));
        assert_eq!(room, 2048);
        let (prp1, prp2) = describe(0x1_0000_0ffc, MAX_TRANSFER as usize, &mut lists, room, room).unwrap();
        assert_eq!(prp1, 0x1_0000_0ffc);
        assert_eq!(prp2, lists.bus_address() + 2048);
        assert_eq!(lists.read::<u64>(2048), Some(0x1_0000_1000));
        assert_eq!(lists.read::<u64>(4096 - 8), Some(0x1_0010_0000));
        assert_eq!(lists.read::<u64>(2048 - 8), Some(0));
        assert_eq!(lists.read::<u64>(4096), Some(0));
    }

    #[test]
    fn one_and_two_pages_need_no_list() {
        let mut lists = lists();
        assert_eq!(describe(0x5000, 4096, &mut lists, 0, 8), Some((0x5000, 0)));
        assert_eq!(describe(0x5200, 4096, &mut lists, 0, 8), Some((0x5200, 0x6000)));
        assert_eq!(describe(0x5e00, 512, &mut lists, 0, 8), Some((0x5e00, 0)));
        assert_eq!(describe(0x5e00, 516, &mut lists, 0, 8), Some((0x5e00, 0x6000)));
        assert_eq!(describe(0x5000, 8192, &mut lists, 0, 8), Some((0x5000, 0x6000)));
        assert!(!needs_list(0x5000, 8192) && needs_list(0x5004, 8192) && needs_list(0x5000, 8196));
        assert_eq!(lists.read::<u64>(0), Some(0));
    }

    #[test]
    fn what_cannot_be_described_is_refused() {
        let mut lists = lists();
        assert_eq!(describe(0x5002, 512, &mut lists, 0, 8), None);
        assert_eq!(describe(0x5000, 0, &mut lists, 0, 8), None);
        assert_eq!(describe(u64::MAX - 3, 512, &mut lists, 0, 8), None);
        assert_eq!(describe(0x5000, 3 * 4096, &mut lists, 0, 8), None);
        assert_eq!(describe(0x5000, 3 * 4096, &mut lists, 2 * PAGE_SIZE - 8, 4096), None);
    }
}
