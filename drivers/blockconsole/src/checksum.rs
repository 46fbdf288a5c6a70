//! CRC-32C, of crash records.

use crc::{CRC_32_ISCSI, Crc};

/// CRC-32C (Castagnoli; the one of iSCSI, RFC 3720 section 12.1): reflected, initial value and final inversion all ones.
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The CRC-32C of some bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut digest = Crc32c::new();
    digest.update(bytes);
    digest.finish()
}

/// A CRC-32C in the making.
#[derive(Clone)]
pub struct Crc32c(crc::Digest<'static, u32>);

impl Crc32c {
    /// That of no bytes yet.
    pub fn new() -> Self {
        static TABLE: Crc<u32> = CRC32C;
        Self(TABLE.digest())
    }

    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The CRC of all bytes.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_values_come_out() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 3720, section B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
