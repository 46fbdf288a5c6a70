//! What a disk holds: blocks that were written, and a filling for all others.

use block::{BlockReader, Error, ErrorKind};
use std::collections::HashMap;
use std::sync::Arc;

/// The contents of a disk, of any size: only what was written takes memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Medium {
    block_size: u32,
    blank: Arc<[u8]>,
    blocks: HashMap<u64, Arc<[u8]>>,
}

impl Medium {
    /// A disk on which every byte is `blank`.
    pub fn new(block_size: u32, blank: u8) -> Self {
        Self { block_size, blank: vec![blank; block_size as usize].into(), blocks: HashMap::new() }
    }

    /// Bytes a block.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// One block.
    pub fn block(&self, block: u64) -> &Arc<[u8]> {
        self.blocks.get(&block).unwrap_or(&self.blank)
    }

    /// Changes one block.
    pub fn set_block(&mut self, block: u64, bytes: Arc<[u8]>) {
        self.blocks.insert(block, bytes);
    }

    /// Writes whole blocks.
    ///
    /// # Panics
    /// If these are not whole blocks.
    pub fn write(&mut self, first_block: u64, bytes: &[u8]) {
        let (chunks, rest) = (bytes.chunks_exact(self.block_size as usize), bytes.len() % self.block_size as usize);
        assert_eq!(rest, 0, "whole blocks only");
        for (block, bytes) in (first_block..).zip(chunks) {
            self.blocks.insert(block, bytes.into());
        }
    }

    /// Reads bytes from anywhere.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let size = u64::from(self.block_size);
        let mut bytes = Vec::with_capacity(len);
        let mut at = offset;
        while bytes.len() < len {
            let block = self.block(at / size);
            let from = (at % size) as usize;
            let take = (len - bytes.len()).min(block.len() - from);
            bytes.extend_from_slice(&block[from..from + take]);
            at += take as u64;
        }
        bytes
    }

    /// A reader of this medium, as long as a disk of so many blocks.
    pub fn reader(&self, block_count: u64) -> impl BlockReader {
        Reader { medium: self.clone(), block_count }
    }

    /// The blocks that were ever written.
    pub fn written(&self) -> impl Iterator<Item = u64> {
        self.blocks.keys().copied()
    }
}

struct Reader {
    medium: Medium,
    block_count: u64,
}

impl BlockReader for Reader {
    fn block_size(&self) -> u32 {
        self.medium.block_size
    }

    fn block_count(&self) -> u64 {
        self.block_count
    }

    fn read_blocks(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let size = u64::from(self.medium.block_size);
        if !(buffer.len() as u64).is_multiple_of(size) {
            return Err(ErrorKind::BadRequest.into());
        }
        match first_block.checked_add(buffer.len() as u64 / size) {
            Some(end) if end <= self.block_count => {
                buffer.copy_from_slice(&self.medium.read(first_block * size, buffer.len()));
                Ok(())
            }
            _ => Err(ErrorKind::OutOfRange.into()),
        }
    }
}
