//! Finds the ACPI root pointer in memory, where no firmware says where it is.
//!
//! Source: ACPI 6.5, sections 5.2.5.1 (finding it) and 5.2.5.3 (its structure).

/// Size of the structure's first version, which its first checksum covers.
const SIZE: usize = 20;
/// It lies on a boundary of so many bytes.
const ALIGN: usize = 16;

/// The offset of the root pointer in a piece of memory that starts on a boundary of 16 bytes.
pub fn find(memory: &[u8]) -> Option<usize> {
    let is_root = |bytes: &[u8]| {
        bytes.starts_with(b"RSD PTR ") && bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0
    };
    let candidates = (0..memory.len()).step_by(ALIGN);
    candidates
        .filter_map(|at| memory.get(at..at + SIZE).map(|bytes| (at, bytes)))
        .find(|(_, b)| is_root(b))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_aligned_structure_with_a_good_checksum_is_found() {
        let put = |at: usize, checksum: u8| {
            let mut memory = [0; 100];
            memory[at..at + 8].copy_from_slice(b"RSD PTR ");
            memory[at + 8] = checksum;
            memory
        };
        let sum = b"RSD PTR ".iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!(find(&[]), None);
        assert_eq!(find(&put(0, 0)), None);
        assert_eq!(find(&put(24, sum.wrapping_neg())), None);
        assert_eq!(find(&put(64, sum.wrapping_neg())), Some(64));
        assert_eq!(find(&put(64, sum.wrapping_neg())[..83]), None);
        assert_eq!(find(&put(48, sum.wrapping_neg())), Some(48));
    }
}
