//! The tags of a console's requests: whose completion it is.
//!
//! | bits | content |
//! |---|---|
//! | 56..64 | the console's [index](super::Config::index) |
//! | 48..56 | what sort of request |
//! | 32..48 | which slot, for writes of text |
//! | 0..32 | serial number: a completion that is not of the request now in its slot is stray |

use block::Tag;

/// The index of the console that made a request with this tag.
pub const fn owner(tag: Tag) -> u8 {
    (tag.0 >> 56) as u8
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A write of text.
    Text {
        slot: u16,
    },
    /// A read, or a write of anything but text.
    Side,
    Flush,
}

pub(super) const fn encode(index: u8, kind: Kind, serial: u32) -> Tag {
    let kind = match kind {
        Kind::Text { slot } => 1 << 48 | (slot as u64) << 32,
        Kind::Side => 2 << 48,
        Kind::Flush => 3 << 48,
    };
    Tag((index as u64) << 56 | kind | serial as u64)
}

pub(super) const fn decode(tag: Tag) -> Option<(Kind, u32)> {
    let kind = match (tag.0 >> 48) as u8 {
        1 => Kind::Text { slot: (tag.0 >> 32) as u16 },
        2 => Kind::Side,
        3 => Kind::Flush,
        _ => return None,
    };
    Some((kind, tag.0 as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for kind in [Kind::Text { slot: 0 }, Kind::Text { slot: u16::MAX }, Kind::Side, Kind::Flush] {
            let tag = encode(200, kind, u32::MAX);
            assert_eq!(owner(tag), 200);
            assert_eq!(decode(tag), Some((kind, u32::MAX)));
        }
        assert_eq!(decode(Tag(u64::MAX)), None);
    }
}
