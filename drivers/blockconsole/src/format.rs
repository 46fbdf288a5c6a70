//! Tiles and their headers: the on-disk format, as bytes.
//!
//! `FORMAT.md` beside this crate is the definition; this file is its code, used by the console in the
//! kernel and by the reader on the host alike. It knows one block at a time and nothing of
//! devices: [`place`](crate::place) says where tiles lie, [`search`](crate::search) which of them is the newest.
//!
//! | offset | length | content |
//! |---|---|---|
//! | 0 | 32 | magic: newline, `Linux blockconsole version 1.1`, newline |
//! | 32 | 8 + 1 | uuid, hexadecimal, newline |
//! | 41 | 8 + 1 | round, hexadecimal, newline |
//! | 50 | 8 + 1 | tile, hexadecimal, newline |
//! | 59 | … | log text, to the end of the tile |

/// Bytes of a tile.
pub const TILE_BYTES: u32 = 1 << 20;
/// log2 of [`TILE_BYTES`].
pub const TILE_SHIFT: u32 = 20;
/// The most tiles that a console may have: its tile numbers are 32 bits wide.
pub const MAX_TILES: u64 = 1 << 32;
/// Bytes of a tile's header; the text begins right after it.
pub const HEADER_LEN: usize = 59;
/// The least and the most bytes of a device's block that the format knows.
pub const BLOCK_SIZES: core::ops::RangeInclusive<u32> = 512..=65_536;

/// What every header begins with.
pub const MAGIC: [u8; 32] = *b"\nLinux blockconsole version 1.1\n";

const UUID_AT: usize = 32;
const ROUND_AT: usize = 41;
const TILE_AT: usize = 50;
const FIELD_LEN: usize = 9;

const _: () = assert!(TILE_BYTES == 1 << TILE_SHIFT);
const _: () = assert!(MAGIC.len() == UUID_AT);
const _: () = assert!(UUID_AT + FIELD_LEN == ROUND_AT && ROUND_AT + FIELD_LEN == TILE_AT);
const _: () = assert!(TILE_AT + FIELD_LEN == HEADER_LEN);
const _: () = assert!(HEADER_LEN < *BLOCK_SIZES.start() as usize);
const _: () = assert!(TILE_BYTES.is_multiple_of(*BLOCK_SIZES.end()));

/// A tile's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Which console this is: random, the same in every tile.
    pub uuid: u32,
    /// How often the log had come round to its beginning when the tile was written.
    pub round: u32,
    /// The tile's own number. Disks written by the Linux driver have the number before it in tiles
    /// that were entered at run time: it must not be relied on.
    pub tile: u32,
}

impl Header {
    /// The header's bytes, hexadecimal in lower case.
    pub const fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [b'\n'; HEADER_LEN];
        let mut i = 0;
        while i < MAGIC.len() {
            bytes[i] = MAGIC[i];
            i += 1;
        }
        put_hex(&mut bytes, UUID_AT, self.uuid);
        put_hex(&mut bytes, ROUND_AT, self.round);
        put_hex(&mut bytes, TILE_AT, self.tile);
        bytes
    }

    /// Reads the header that a tile's first block begins with; `None` if there is none.
    ///
    /// Hexadecimal digits of either case are taken. Headers are therefore compared by their decoded values, never
    /// byte by byte: a header in upper case would otherwise equal none that is written after it.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = block.first_chunk()?;
        if !header.starts_with(&MAGIC) {
            return None;
        }
        Some(Self { uuid: field(header, UUID_AT)?, round: field(header, ROUND_AT)?, tile: field(header, TILE_AT)? })
    }

    /// How this header's round stands to that of a `reference`, taken from the same console's tile 0.
    pub const fn age(&self, reference: &Self) -> Age {
        if self.uuid != reference.uuid {
            return Age::Foreign;
        }
        match reference.round.wrapping_sub(self.round) {
            0 => Age::Same,
            1..=0x7fff_ffff => Age::Older,
            _ => Age::Newer,
        }
    }
}

/// How one tile's header stands to another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// The same round of the same console.
    Same,
    /// An earlier round of the same console. Rounds are compared modulo 2^32.
    Older,
    /// A later round of the same console.
    Newer,
    /// Another console's.
    Foreign,
}

const fn put_hex(bytes: &mut [u8; HEADER_LEN], at: usize, value: u32) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut i = 0;
    while i < 8 {
        bytes[at + i] = DIGITS[(value >> (28 - 4 * i) & 0xf) as usize];
        i += 1;
    }
}

/// Eight digits and a newline. Not `from_str_radix`, which takes a sign.
fn field(header: &[u8; HEADER_LEN], at: usize) -> Option<u32> {
    let (digits, end) = header.get(at..)?.split_first_chunk::<8>()?;
    if end.first() != Some(&b'\n') {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        value = value << 4 | char::from(*digit).to_digit(16)?;
    }
    Some(value)
}

/// The number of whole tiles in so many bytes, at most [`MAX_TILES`]. What lies beyond them is never read or written.
pub const fn tiles_in(bytes: u64) -> u64 {
    let tiles = bytes >> TILE_SHIFT;
    if tiles < MAX_TILES { tiles } else { MAX_TILES }
}

/// Where a tile starts, in bytes from the console's beginning. Does not overflow for any tile.
pub const fn tile_start(tile: u32) -> u64 {
    (tile as u64) << TILE_SHIFT
}

/// Ends a block early: the rest of it becomes spaces, its last byte a newline.
pub fn pad(rest: &mut [u8]) {
    if let Some((last, spaces)) = rest.split_last_mut() {
        spaces.fill(b' ');
        *last = b'\n';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { uuid: 0x1a2b_3c4d, round: 2, tile: 0xffff_ffff };

    #[test]
    fn the_bytes_are_those_of_the_format() {
        assert_eq!(&HEADER.encode(), b"\nLinux blockconsole version 1.1\n1a2b3c4d\n00000002\nffffffff\n");
        assert_eq!(Header::decode(&HEADER.encode()), Some(HEADER));
    }

    #[test]
    fn each_byte_of_a_header_counts() {
        for at in 0..HEADER_LEN {
            for byte in 0..=255u8 {
                let mut bytes = HEADER.encode();
                if bytes[at] == byte {
                    continue;
                }
                bytes[at] = byte;
                let digit = byte.is_ascii_hexdigit() && bytes[at] != b'\n' && HEADER.encode()[at].is_ascii_hexdigit();
                let in_field = (UUID_AT..HEADER_LEN).contains(&at);
                assert_eq!(Header::decode(&bytes).is_some(), digit && in_field, "byte {byte:#x} at {at}");
            }
        }
        assert_eq!(Header::decode(&HEADER.encode()[..58]), None);
        assert_eq!(Header::decode(&[]), None);
    }

    #[test]
    fn rounds_compare_across_their_overflow() {
        let round = |round| Header { round, ..HEADER };
        assert_eq!(round(2).age(&HEADER), Age::Same);
        assert_eq!(round(1).age(&HEADER), Age::Older);
        assert_eq!(round(3).age(&HEADER), Age::Newer);
        assert_eq!(round(u32::MAX).age(&round(0)), Age::Older);
        assert_eq!(Header { uuid: 1, ..HEADER }.age(&HEADER), Age::Foreign);
    }

    #[test]
    fn tiles_are_counted_from_none_to_two_to_the_32nd() {
        assert_eq!(tiles_in((1 << 20) - 1), 0);
        assert_eq!(tiles_in(1 << 20), 1);
        assert_eq!(tiles_in((1 << 52) - 1), MAX_TILES - 1);
        assert_eq!(tiles_in(u64::MAX), MAX_TILES);
        assert_eq!(tile_start(u32::MAX), (1 << 52) - (1 << 20));
    }

    #[test]
    fn pads_end_in_a_newline() {
        let mut block = *b"text____";
        pad(&mut block[4..]);
        assert_eq!(&block, b"text   \n");
        pad(&mut block[8..]);
        pad(&mut block[7..]);
        assert_eq!(&block, b"text   \n");
    }
}
