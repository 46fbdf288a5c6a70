//! A configuration space with one modern virtio block device in it.

use std::cell::RefCell;

use pci::{Address, ConfigSpace, Function};

/// One function's configuration space.
pub(crate) struct FakeConfig {
    pub(crate) words: RefCell<[u32; 64]>,
    pub(crate) writable: [u32; 64],
}

/// What QEMU's register layout looks like: common, doorbells and device configuration in a 64-bit region 4.
impl FakeConfig {
    /// A modern device whose region lies at `base`.
    pub(crate) fn modern(base: u64) -> Self {
        let mut config = Self { words: RefCell::new([0; 64]), writable: [0; 64] };
        config.writable[1] = 0xFFFF;
        config.set(0x00, 0x1042_1AF4);
        config.set(0x04, 0x0010_0000);
        config.set(0x08, 0x0100_0001);
        config.set(0x34, 0x40);
        config.set_bar(4, base as u32 | 0xC, !0x3FFF);
        config.set_bar(5, (base >> 32) as u32, !0);
        // A capability that is none of ours, then one of a kind with a reserved region number.
        config.set(0x40, 0x8000_4811);
        config.capability(0x48, 0x58, 1, 7, 0, 0x38);
        config.capability(0x58, 0x68, 1, 4, 0x0, 0x38);
        config.capability(0x68, 0x7C, 2, 4, 0x1000, 0x1000);
        config.set(0x68, config.word(0x68) & !0xFF_0000 | 20 << 16);
        config.set(0x78, 4);
        config.capability(0x7C, 0x8C, 3, 4, 0x3000, 0x1000);
        config.capability(0x8C, 0, 4, 4, 0x2000, 0x1000);
        config
    }

    /// A legacy device with its registers in I/O ports.
    pub(crate) fn legacy(port: u16) -> Self {
        let mut config = Self { words: RefCell::new([0; 64]), writable: [0; 64] };
        config.writable[1] = 0xFFFF;
        config.set(0x00, 0x1001_1AF4);
        config.set_bar(0, u32::from(port) | 1, 0xFF80);
        config
    }

    pub(crate) fn set(&self, offset: usize, value: u32) {
        self.words.borrow_mut()[offset / 4] = value;
    }

    pub(crate) fn word(&self, offset: usize) -> u32 {
        self.words.borrow()[offset / 4]
    }

    pub(crate) fn set_bar(&mut self, index: usize, value: u32, writable: u32) {
        self.set(0x10 + 4 * index, value);
        self.writable[4 + index] = writable;
    }

    /// A vendor capability with a virtio structure.
    pub(crate) fn capability(&self, place: usize, next: u32, kind: u32, bar: u32, offset: u32, len: u32) {
        self.set(place, kind << 24 | 16 << 16 | next << 8 | 0x09);
        self.set(place + 4, bar);
        self.set(place + 8, offset);
        self.set(place + 12, len);
    }

    /// The function.
    pub(crate) fn function(&self) -> Function<'_, Self> {
        Function::probe(self, Address::new(0, 0, 3, 0).expect("a place that exists")).expect("somebody answers")
    }
}

impl ConfigSpace for FakeConfig {
    fn read32(&self, _address: Address, offset: u16) -> u32 {
        self.words.borrow().get(usize::from(offset / 4)).copied().unwrap_or(!0)
    }

    fn write32(&self, _address: Address, offset: u16, value: u32) {
        let index = usize::from(offset / 4);
        let mask = self.writable[index];
        let mut words = self.words.borrow_mut();
        words[index] = words[index] & !mask | value & mask;
    }
}
