//! A model namespace: its blocks, and the cache in front of them.

use std::collections::BTreeMap;

/// How a namespace is built.
#[derive(Clone, Debug)]
pub(crate) struct NamespaceOptions {
    pub(crate) id: u32,
    pub(crate) blocks: u64,
    /// Block size as a power of two.
    pub(crate) shift: u8,
    pub(crate) metadata: u16,
    pub(crate) protection: u8,
    pub(crate) write_protected: bool,
    /// 0 = NVM, 1 = key value, 2 = zoned.
    pub(crate) command_set: u8,
    pub(crate) nguid: [u8; 16],
    pub(crate) uuid: [u8; 16],
    /// Overrides bytes of the Identify data.
    pub(crate) patch: Vec<(usize, u8)>,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self {
            id: 1,
            blocks: 8192,
            shift: 9,
            metadata: 0,
            protection: 0,
            write_protected: false,
            command_set: 0,
            nguid: [0; 16],
            uuid: [7; 16],
            patch: Vec::new(),
        }
    }
}

/// A namespace's contents.
pub(crate) struct Medium {
    pub(crate) options: NamespaceOptions,
    /// What survives a loss of power. Blocks that were never written are zero.
    pub(crate) durable: BTreeMap<u64, Vec<u8>>,
    /// What was written after the last flush.
    pub(crate) cached: BTreeMap<u64, Vec<u8>>,
    /// The namespace does not answer any more.
    pub(crate) detached: bool,
}

impl Medium {
    pub(crate) fn new(options: NamespaceOptions) -> Self {
        Self { options, durable: BTreeMap::new(), cached: BTreeMap::new(), detached: false }
    }

    pub(crate) fn block_size(&self) -> usize {
        1 << self.options.shift
    }

    /// A block, as a read returns it.
    pub(crate) fn block(&self, block: u64) -> Vec<u8> {
        let found = self.cached.get(&block).or_else(|| self.durable.get(&block));
        found.cloned().unwrap_or_else(|| vec![0; self.block_size()])
    }

    /// Blocks in a row.
    pub(crate) fn bytes(&self, first: u64, count: u64) -> Vec<u8> {
        (first..first + count).flat_map(|block| self.block(block)).collect()
    }

    pub(crate) fn write(&mut self, block: u64, data: &[u8], durable: bool) {
        if durable {
            self.cached.remove(&block);
            self.durable.insert(block, data.to_vec());
        } else {
            self.cached.insert(block, data.to_vec());
        }
    }

    pub(crate) fn flush(&mut self) {
        self.durable.append(&mut self.cached);
    }

    /// The Identify Namespace data structure.
    pub(crate) fn identify(&self) -> Vec<u8> {
        let options = &self.options;
        let mut page = vec![0; 4096];
        page[..8].copy_from_slice(&options.blocks.to_le_bytes());
        page[8..16].copy_from_slice(&options.blocks.to_le_bytes());
        page[29] = options.protection;
        page[99] = u8::from(options.write_protected);
        page[104..120].copy_from_slice(&options.nguid);
        page[128..130].copy_from_slice(&options.metadata.to_le_bytes());
        page[130] = options.shift;
        for (offset, value) in &options.patch {
            page[*offset] = *value;
        }
        page
    }

    /// The namespace identification descriptors.
    pub(crate) fn descriptors(&self) -> Vec<u8> {
        let mut page = vec![3, 16, 0, 0];
        page.extend(self.options.uuid);
        page.extend([4, 1, 0, 0, self.options.command_set]);
        page.resize(4096, 0);
        page
    }
}
