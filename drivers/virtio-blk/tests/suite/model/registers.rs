//! The device's registers, as each of the transports has them.

use platform_fake::RegisterModel;

use super::device::{Device, Queue};

/// Which transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// PCI, virtio 1.
    Modern,
    /// PCI, I/O ports.
    Legacy,
    /// MMIO version 1.
    MmioLegacy,
    /// MMIO version 2.
    Mmio,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Modern, Self::Legacy, Self::MmioLegacy, Self::Mmio];
}

/// Registers in front of a [`Device`].
pub(crate) struct RegisterFile {
    pub(crate) kind: Kind,
    pub(crate) device: Device,
    device_select: u32,
    driver_select: u32,
    queue_select: usize,
    page_size: u64,
}

impl RegisterFile {
    pub(crate) fn new(kind: Kind, device: Device) -> Self {
        Self { kind, device, device_select: 0, driver_select: 0, queue_select: 0, page_size: 1 }
    }

    fn queue(&mut self) -> Option<&mut Queue> {
        self.device.queues.get_mut(self.queue_select)
    }

    fn config(&mut self, offset: usize, bytes: usize) -> u64 {
        let mut value = [0xFF; 8];
        for (index, byte) in value.iter_mut().enumerate().take(bytes) {
            *byte = self.device.config.get(offset + index).copied().unwrap_or(0);
        }
        if self.device.config_changes > 0 {
            self.device.config_changes -= 1;
            self.device.generation = self.device.generation.wrapping_add(1);
            self.device.config[0] = self.device.config[0].wrapping_add(8);
        }
        u64::from_le_bytes(value)
    }

    fn features(&self) -> u64 {
        self.device.offered >> (32 * self.device_select.min(1)) & 0xFFFF_FFFF
    }

    fn accept(&mut self, select: u32, value: u64) {
        let shift = 32 * select.min(1);
        self.device.accepted = self.device.accepted & !(0xFFFF_FFFF << shift) | (value & 0xFFFF_FFFF) << shift;
        if self.device.accepted & !self.device.offered != 0 {
            self.device.violation("accepted what was not offered");
        }
    }

    /// A queue by its first page, laid out as the legacy interface does.
    fn set_page(&mut self, page: u64, page_size: u64, size: u32) {
        let Some(queue) = self.queue() else { return };
        let start = page * page_size;
        let entries = u64::from(size);
        queue.size = size;
        queue.descriptors = start;
        queue.available = start + 16 * entries;
        queue.used = (queue.available + 6 + 2 * entries).next_multiple_of(4096);
        queue.enabled = page != 0;
    }

    fn read_modern(&mut self, offset: usize, bytes: usize) -> u64 {
        match (offset, bytes) {
            (0x04, 4) => self.features(),
            (0x12, 2) => self.device.queues.len() as u64,
            (0x14, 1) => self.device.read_status().into(),
            (0x15, 1) => self.device.generation.into(),
            (0x18, 2) => self.queue().map_or(0, |queue| if queue.size > 0 { queue.size } else { queue.max }).into(),
            (0x1C, 2) => self.queue().is_some_and(|queue| queue.enabled).into(),
            (0x1E, 2) => self.queue_select as u64 + u64::from(self.device.first_doorbell),
            (0x2000.., _) => self.config(offset - 0x2000, bytes),
            _ => {
                self.device.violation(format!("read of {bytes} at {offset:#x}"));
                0
            }
        }
    }

    fn write_modern(&mut self, offset: usize, bytes: usize, value: u64) {
        let low = |old: u64| old & !0xFFFF_FFFF | value;
        let high = |old: u64| old & 0xFFFF_FFFF | value << 32;
        match (offset, bytes) {
            (0x00, 4) => self.device_select = value as u32,
            (0x08, 4) => self.driver_select = value as u32,
            (0x0C, 4) => self.accept(self.driver_select, value),
            (0x14, 1) => self.device.set_status(value as u8),
            (0x16, 2) => self.queue_select = value as usize,
            (0x1000.., 2) if offset - 0x1000 == 4 * value as usize => self.device.notify(value as u16),
            (0x18..0x38, _) => {
                let Some(queue) = self.queue() else { return self.device.violation("no such queue") };
                match offset {
                    0x18 => queue.size = value as u32,
                    0x1C => queue.enabled = value == 1,
                    0x20 => queue.descriptors = low(queue.descriptors),
                    0x24 => queue.descriptors = high(queue.descriptors),
                    0x28 => queue.available = low(queue.available),
                    0x2C => queue.available = high(queue.available),
                    0x30 => queue.used = low(queue.used),
                    0x34 => queue.used = high(queue.used),
                    _ => self.device.violation(format!("write of {bytes} at {offset:#x}")),
                }
            }
            _ => self.device.violation(format!("write of {bytes} at {offset:#x}")),
        }
    }

    fn read_legacy(&mut self, offset: usize, bytes: usize) -> u64 {
        match (offset, bytes) {
            (0, 4) => self.features(),
            (8, 4) => self.queue().map_or(0, |queue| queue.descriptors / 4096),
            (12, 2) => self.queue().map_or(0, |queue| queue.max).into(),
            (18, 1) => self.device.read_status().into(),
            (20.., _) => self.config(offset - 20, bytes),
            _ => {
                self.device.violation(format!("read of {bytes} at {offset:#x}"));
                0
            }
        }
    }

    fn write_legacy(&mut self, offset: usize, bytes: usize, value: u64) {
        match (offset, bytes) {
            (4, 4) => self.accept(0, value),
            (8, 4) => {
                let size = self.queue().map_or(0, |queue| queue.max);
                self.set_page(value, 4096, size);
            }
            (14, 2) => self.queue_select = value as usize,
            (16, 2) => self.device.notify(value as u16),
            (18, 1) => self.device.set_status(value as u8),
            _ => self.device.violation(format!("write of {bytes} at {offset:#x}")),
        }
    }

    fn read_mmio(&mut self, offset: usize, bytes: usize) -> u64 {
        let legacy = self.device.legacy;
        match (offset, bytes) {
            (0x000, 4) => 0x7472_6976,
            (0x004, 4) => {
                if legacy {
                    1
                } else {
                    2
                }
            }
            (0x008, 4) => 2,
            (0x010, 4) => self.features(),
            (0x034, 4) => self.queue().map_or(0, |queue| queue.max).into(),
            (0x040, 4) if legacy => self.queue().map_or(0, |queue| queue.descriptors / 4096),
            (0x044, 4) if !legacy => self.queue().is_some_and(|queue| queue.enabled).into(),
            (0x070, 4) => self.device.read_status().into(),
            (0x0FC, 4) if !legacy => self.device.generation.into(),
            (0x100.., _) => self.config(offset - 0x100, bytes),
            _ => {
                self.device.violation(format!("read of {bytes} at {offset:#x}"));
                0
            }
        }
    }

    fn write_mmio(&mut self, offset: usize, bytes: usize, value: u64) {
        let legacy = self.device.legacy;
        if bytes != 4 {
            return self.device.violation(format!("write of {bytes} at {offset:#x}"));
        }
        match offset {
            0x014 => self.device_select = value as u32,
            0x020 => self.accept(self.driver_select, value),
            0x024 => self.driver_select = value as u32,
            0x028 if legacy => self.page_size = value,
            0x030 => self.queue_select = value as usize,
            0x038 => {
                if let Some(queue) = self.queue() {
                    queue.size = value as u32;
                }
            }
            0x03C if legacy => {}
            0x040 if legacy => {
                let size = self.queue().map_or(0, |queue| queue.size);
                self.set_page(value, self.page_size, size);
            }
            0x044..0x0B0 if !legacy && !matches!(offset, 0x050 | 0x070) => self.write_modern_mmio(offset, value),
            0x050 => self.device.notify(value as u16),
            0x070 => self.device.set_status(value as u8),
            _ => self.device.violation(format!("write at {offset:#x}")),
        }
    }

    fn write_modern_mmio(&mut self, offset: usize, value: u64) {
        let Some(queue) = self.queue() else { return self.device.violation("no such queue") };
        let low = |old: u64| old & !0xFFFF_FFFF | value;
        let high = |old: u64| old & 0xFFFF_FFFF | value << 32;
        match offset {
            0x044 => queue.enabled = value == 1,
            0x080 => queue.descriptors = low(queue.descriptors),
            0x084 => queue.descriptors = high(queue.descriptors),
            0x090 => queue.available = low(queue.available),
            0x094 => queue.available = high(queue.available),
            0x0A0 => queue.used = low(queue.used),
            0x0A4 => queue.used = high(queue.used),
            _ => self.device.violation(format!("write at {offset:#x}")),
        }
    }
}

impl RegisterModel for RegisterFile {
    fn read(&mut self, offset: usize, bytes: usize) -> u64 {
        if self.device.gone {
            return u64::MAX;
        }
        match self.kind {
            Kind::Modern => self.read_modern(offset, bytes),
            Kind::Legacy => self.read_legacy(offset, bytes),
            Kind::MmioLegacy | Kind::Mmio => self.read_mmio(offset, bytes),
        }
    }

    fn write(&mut self, offset: usize, bytes: usize, value: u64) {
        if self.device.gone {
            return;
        }
        match self.kind {
            Kind::Modern => self.write_modern(offset, bytes, value),
            Kind::Legacy => self.write_legacy(offset, bytes, value),
            Kind::MmioLegacy | Kind::Mmio => self.write_mmio(offset, bytes, value),
        }
    }
}
