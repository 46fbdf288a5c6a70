//! A crash record as text for QR codes, where there is no serial port and no disk.
//!
//! ```text
//!  record ──► model: packed to a third or less ──► pieces, each with a header ──► Base45 ──► one QR code each
//! ```
//! `FORMAT.md` has the bytes. [`Sender`] makes the texts and [`Receiver`] puts them together again, in any order, and checks the record. Neither
//! allocates; both are given memory, of which the model takes the most.

pub mod base45;
pub mod model;

use crate::checksum::crc32c;
use crate::crash::MAX_RECORD;
pub use model::MODEL_WORDS;

/// What each text begins with: format and version.
pub const PREFIX: &[u8] = b"BCQ1:";
/// Most codes that a record takes.
pub const MAX_PIECES: usize = 8;
/// Bytes in front of a piece: its number, how many there are, the record's length and its CRC-32C, little-endian.
const HEADER: usize = 8;
/// Most bytes of a piece, its header included.
const MAX_PIECE: usize = 2800;
/// Most characters of a text.
pub const MAX_TEXT: usize = PREFIX.len() + base45::encoded_len(MAX_PIECE);
/// Most bytes of a packed record.
pub const MAX_PACKED: usize = MAX_PIECES * (MAX_PIECE - HEADER);

/// A packed record, to be shown in some codes.
pub struct Sender<'p> {
    packed: &'p [u8],
    len: u16,
    checksum: u32,
}

impl<'p> Sender<'p> {
    /// Packs a record. `None` if it is too long, or `memory` (of [`MODEL_WORDS`]) or `room` is too small.
    pub fn new(record: &[u8], memory: &mut [u32], room: &'p mut [u8]) -> Option<Self> {
        let len = u16::try_from(record.len()).ok().filter(|len| usize::from(*len) <= MAX_RECORD)?;
        let packed = model::pack(record, memory, room)?;
        Some(Self { packed: room.get(..packed)?, len, checksum: crc32c(record) })
    }

    /// Bytes that the record is packed into.
    pub fn packed_len(&self) -> usize {
        self.packed.len()
    }

    /// Characters of the longest text if there are so many pieces; `None` if they have to be more, or fewer: none is empty.
    pub fn text_len(&self, pieces: usize) -> Option<usize> {
        if !(1..=MAX_PIECES.min(self.packed.len())).contains(&pieces) {
            return None;
        }
        let longest = HEADER + self.packed.len().div_ceil(pieces);
        (longest <= MAX_PIECE).then_some(PREFIX.len() + base45::encoded_len(longest))
    }

    /// Writes the text of piece `number`, counted from 0, of so many. Returns its length.
    pub fn text(&self, number: usize, pieces: usize, out: &mut [u8]) -> Option<usize> {
        self.text_len(pieces)?;
        // As even as can be, so that no piece is empty; the first is as long as any.
        let start = |number: usize| (number * self.packed.len()).div_ceil(pieces);
        let content = self.packed.get(start(number)..start(number + 1))?;
        let mut piece = [0; MAX_PIECE];
        let [len_low, len_high] = self.len.to_le_bytes();
        let [a, b, c, d] = self.checksum.to_le_bytes();
        piece.get_mut(..HEADER)?.copy_from_slice(&[number as u8, pieces as u8, len_low, len_high, a, b, c, d]);
        piece.get_mut(HEADER..HEADER + content.len())?.copy_from_slice(content);
        let (prefix, out) = out.split_at_mut_checked(PREFIX.len())?;
        prefix.copy_from_slice(PREFIX);
        let characters = base45::encode(piece.get(..HEADER + content.len())?, out)?;
        Some(PREFIX.len() + characters)
    }
}

/// Why a text, or all of them, does not give a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// It is some other code's text.
    NotOurs,
    /// It begins like ours, but cannot be read.
    Damaged,
    /// It belongs to another record than those before.
    OtherRecord,
    /// So many of so many pieces are there.
    Missing(usize, usize),
    /// All pieces are there, but the record's checksum is wrong.
    Checksum,
}

impl core::fmt::Display for Bad {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotOurs => f.write_str("it is not a crash record's"),
            Self::Damaged => f.write_str("it is damaged"),
            Self::OtherRecord => f.write_str("it belongs to another crash record"),
            Self::Missing(there, all) => write!(f, "{there} of {all} codes were found"),
            Self::Checksum => f.write_str("the checksum of the record is wrong"),
        }
    }
}

/// Puts pieces together.
pub struct Receiver {
    /// Of the record: number of pieces, length, CRC-32C.
    of: Option<(u8, u16, u32)>,
    pieces: [[u8; MAX_PIECE]; MAX_PIECES],
    lens: [usize; MAX_PIECES],
}

impl Receiver {
    /// One without pieces.
    pub const fn new() -> Self {
        Self { of: None, pieces: [[0; MAX_PIECE]; MAX_PIECES], lens: [0; MAX_PIECES] }
    }

    /// Takes the text of a code. Returns whether it was new.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn take(&mut self, text: &[u8]) -> Result<bool, Bad> {
        let text = text.strip_prefix(PREFIX).ok_or(Bad::NotOurs)?;
        let mut piece = [0; MAX_PIECE];
        let len = base45::decode(text, &mut piece).ok_or(Bad::Damaged)?;
        let (header, content) =
            piece.get(..len).unwrap_or_default().split_first_chunk::<HEADER>().ok_or(Bad::Damaged)?;
        let &[number, count, len_low, len_high, a, b, c, d] = header;
        let of = (count, u16::from_le_bytes([len_low, len_high]), u32::from_le_bytes([a, b, c, d]));
        let is_possible = usize::from(count) <= MAX_PIECES && number < count && usize::from(of.1) <= MAX_RECORD;
        if !is_possible || content.is_empty() {
            return Err(Bad::Damaged);
        }
        if self.of.is_some_and(|known| known != of) {
            return Err(Bad::OtherRecord);
        }
        self.of = Some(of);
        let number = usize::from(number);
        let (slot, taken) = self.pieces.get_mut(number).zip(self.lens.get_mut(number)).ok_or(Bad::Damaged)?;
        let is_new = *taken == 0;
        slot.get_mut(..content.len()).ok_or(Bad::Damaged)?.copy_from_slice(content);
        *taken = content.len();
        Ok(is_new)
    }

    /// The record, in `out`, once all pieces are there. `memory` has [`MODEL_WORDS`] words, `out` [`MAX_RECORD`] bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub fn record<'o>(&self, memory: &mut [u32], out: &'o mut [u8]) -> Result<&'o [u8], Bad> {
        let (count, len, checksum) = self.of.ok_or(Bad::Missing(0, 1))?;
        let lens = self.lens.get(..usize::from(count)).unwrap_or_default();
        let there = lens.iter().filter(|len| **len > 0).count();
        if there < lens.len() {
            return Err(Bad::Missing(there, lens.len()));
        }
        let mut packed = [0; MAX_PACKED];
        let mut end = 0;
        for (piece, len) in self.pieces.iter().zip(lens) {
            let content = piece.get(..*len).ok_or(Bad::Damaged)?;
            packed.get_mut(end..end + len).ok_or(Bad::Damaged)?.copy_from_slice(content);
            end += len;
        }
        let out = out.get_mut(..usize::from(len)).ok_or(Bad::Damaged)?;
        if !model::unpack(packed.get(..end).unwrap_or_default(), memory, out) {
            return Err(Bad::Damaged);
        }
        if crc32c(out) == checksum { Ok(out) } else { Err(Bad::Checksum) }
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}
