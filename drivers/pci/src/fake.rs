//! A configuration space made of words, which tests fill as they like.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use crate::{Address, ConfigSpace, spec};

/// One function's registers, and which bits of them a write changes.
#[derive(Clone)]
pub(crate) struct FakeFunction {
    pub(crate) words: Vec<u32>,
    pub(crate) writable: Vec<u32>,
}

impl FakeFunction {
    /// A device with nothing but an identity.
    pub(crate) fn new(vendor: u16, device: u16) -> Self {
        let mut function = Self { words: std::vec![0; 1024], writable: std::vec![0; 1024] };
        function.words[0] = u32::from(device) << 16 | u32::from(vendor);
        function.writable[1] = 0xFFFF;
        function
    }

    /// A bridge to `secondary`.
    pub(crate) fn bridge(secondary: u8) -> Self {
        Self::new(0x1B36, 0x000C).with(0x0C, 1 << 16).with(0x08, 0x0604_0000).with(0x18, u32::from(secondary) << 8)
    }

    /// Sets a word.
    pub(crate) fn with(mut self, offset: u16, value: u32) -> Self {
        self.words[usize::from(offset / 4)] = value;
        self
    }

    /// Sets a base address register: its contents, and the bits that can be written.
    pub(crate) fn with_bar(mut self, index: u8, value: u32, writable: u32) -> Self {
        let word = 4 + usize::from(index);
        self.words[word] = value;
        self.writable[word] = writable;
        self
    }

    /// Sets the capability list's start and the bit that announces it.
    pub(crate) fn with_capabilities(self, start: u8) -> Self {
        let status = u32::from(spec::header::STATUS_CAPABILITIES) << 16;
        self.with(0x04, status).with(0x34, u32::from(start))
    }
}

/// A segment of such functions; notes every write.
#[derive(Default)]
pub(crate) struct FakeConfig {
    functions: RefCell<BTreeMap<(u8, u8, u8), FakeFunction>>,
    pub(crate) writes: RefCell<Vec<(Address, u16, u32)>>,
    pub(crate) reads: RefCell<u64>,
}

impl FakeConfig {
    /// Puts a function at bus, device and function.
    pub(crate) fn with(self, place: (u8, u8, u8), function: FakeFunction) -> Self {
        self.functions.borrow_mut().insert(place, function);
        self
    }
}

impl ConfigSpace for FakeConfig {
    fn read32(&self, address: Address, offset: u16) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < 4096, "offset {offset:#x}");
        *self.reads.borrow_mut() += 1;
        let place = (address.bus(), address.device(), address.function());
        self.functions.borrow().get(&place).map_or(!0, |function| function.words[usize::from(offset / 4)])
    }

    fn write32(&self, address: Address, offset: u16, value: u32) {
        assert!(offset.is_multiple_of(4) && offset < 4096, "offset {offset:#x}");
        self.writes.borrow_mut().push((address, offset, value));
        let place = (address.bus(), address.device(), address.function());
        if let Some(function) = self.functions.borrow_mut().get_mut(&place) {
            let index = usize::from(offset / 4);
            let writable = function.writable[index];
            function.words[index] = function.words[index] & !writable | value & writable;
        }
    }
}

/// A configuration space where every read gives what `answer` makes of the offset.
pub(crate) struct Hostile<F>(pub(crate) F);

impl<F: Fn(Address, u16) -> u32> ConfigSpace for Hostile<F> {
    fn read32(&self, address: Address, offset: u16) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < 4096, "offset {offset:#x}");
        (self.0)(address, offset)
    }

    fn write32(&self, _address: Address, offset: u16, _value: u32) {
        assert!(offset.is_multiple_of(4) && offset < 4096, "offset {offset:#x}");
    }
}
