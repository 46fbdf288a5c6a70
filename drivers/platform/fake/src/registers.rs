//! Registers that answer from a model device.

use std::sync::{Arc, Mutex};

use crate::lock;
use platform::Registers;

/// A model device's registers. Offsets count from the start of the attached window; `bytes` is 1, 2 or 4.
pub trait RegisterModel {
    /// What a read gives.
    fn read(&mut self, offset: usize, bytes: usize) -> u64;
    /// Takes a write.
    fn write(&mut self, offset: usize, bytes: usize, value: u64);
}

/// A register write that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterWrite {
    /// Where, from the start of the device's registers.
    pub offset: usize,
    /// How wide.
    pub bytes: usize,
    /// What.
    pub value: u64,
}

/// A mapped part of a model device's registers.
#[derive(Clone)]
pub struct Window {
    model: Arc<Mutex<dyn RegisterModel + Send>>,
    log: Arc<Mutex<Vec<RegisterWrite>>>,
    start: usize,
    len: usize,
}

impl Window {
    pub(crate) fn new(
        model: Arc<Mutex<dyn RegisterModel + Send>>,
        log: Arc<Mutex<Vec<RegisterWrite>>>,
        start: usize,
        len: usize,
    ) -> Self {
        Self { model, log, start, len }
    }

    fn place(&self, offset: usize, bytes: usize) -> Option<usize> {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.len) && offset.is_multiple_of(bytes);
        inside.then(|| self.start + offset)
    }

    fn read(&self, offset: usize, bytes: usize) -> u64 {
        self.place(offset, bytes).map_or(u64::MAX, |place| lock(&self.model).read(place, bytes))
    }

    fn write(&self, offset: usize, bytes: usize, value: u64) {
        let Some(place) = self.place(offset, bytes) else { return };
        lock(&self.log).push(RegisterWrite { offset: place, bytes, value });
        lock(&self.model).write(place, bytes, value);
    }
}

impl Registers for Window {
    fn len(&self) -> usize {
        self.len
    }

    fn read8(&self, offset: usize) -> u8 {
        self.read(offset, 1) as u8
    }

    fn read16(&self, offset: usize) -> u16 {
        self.read(offset, 2) as u16
    }

    fn read32(&self, offset: usize) -> u32 {
        self.read(offset, 4) as u32
    }

    fn write8(&self, offset: usize, value: u8) {
        self.write(offset, 1, value.into());
    }

    fn write16(&self, offset: usize, value: u16) {
        self.write(offset, 2, value.into());
    }

    fn write32(&self, offset: usize, value: u32) {
        self.write(offset, 4, value.into());
    }
}
