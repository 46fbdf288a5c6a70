//! Devices without a bus, as microvm-style hypervisors have them.

use core::fmt;

use platform::Registers;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::config;
use crate::spec::mmio;

/// A device by its window of registers, legacy (version 1) or not (version 2) (4.2).
pub struct Mmio<R> {
    registers: R,
    legacy: bool,
    /// As the driver set it; the legacy queue address counts in it.
    page_size: u32,
}

/// Why a window is no virtio-blk device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmioError {
    /// It does not begin with the magic value.
    NoMagic(u32),
    /// A version that this driver does not know.
    Version(u32),
    /// Another kind of device; 0 is an empty place.
    DeviceType(u32),
}

impl fmt::Display for MmioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMagic(value) => write!(f, "no virtio device: magic value is {value:#x}"),
            Self::Version(version) => write!(f, "virtio-mmio version {version} is not known"),
            Self::DeviceType(0) => f.write_str("nothing plugged in"),
            Self::DeviceType(kind) => write!(f, "not a block device: virtio type {kind}"),
        }
    }
}

impl core::error::Error for MmioError {}

impl<R: Registers> Mmio<R> {
    /// Looks at a window of registers.
    ///
    /// # Errors
    /// [`MmioError`] if there is no virtio-blk device there.
    pub fn probe(registers: R) -> core::result::Result<Self, MmioError> {
        let magic = registers.read32(mmio::MAGIC_VALUE);
        if magic != mmio::MAGIC {
            return Err(MmioError::NoMagic(magic));
        }
        let version = registers.read32(mmio::VERSION);
        if !matches!(version, 1 | 2) {
            return Err(MmioError::Version(version));
        }
        let kind = registers.read32(mmio::DEVICE_ID);
        if DeviceType::try_from(kind) != Ok(DeviceType::Block) {
            return Err(MmioError::DeviceType(kind));
        }
        Ok(Self { registers, legacy: version == 1, page_size: 4096 })
    }

    fn select(&self, queue: u16) {
        self.registers.write32(mmio::QUEUE_SELECT, queue.into());
    }
}

impl<R: Registers> Transport for Mmio<R> {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        self.registers.write32(mmio::DEVICE_FEATURES_SELECT, 0);
        let low = self.registers.read32(mmio::DEVICE_FEATURES);
        self.registers.write32(mmio::DEVICE_FEATURES_SELECT, 1);
        u64::from(self.registers.read32(mmio::DEVICE_FEATURES)) << 32 | u64::from(low)
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.registers.write32(mmio::DRIVER_FEATURES_SELECT, 0);
        self.registers.write32(mmio::DRIVER_FEATURES, driver_features as u32);
        self.registers.write32(mmio::DRIVER_FEATURES_SELECT, 1);
        self.registers.write32(mmio::DRIVER_FEATURES, (driver_features >> 32) as u32);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.select(queue);
        self.registers.read32(mmio::QUEUE_SIZE_MAX)
    }

    fn notify(&mut self, queue: u16) {
        self.registers.write32(mmio::QUEUE_NOTIFY, queue.into());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.registers.read32(mmio::STATUS))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.registers.write32(mmio::STATUS, status.bits());
    }

    fn set_guest_page_size(&mut self, guest_page_size: u32) {
        if self.legacy && guest_page_size != 0 {
            self.page_size = guest_page_size;
            self.registers.write32(mmio::GUEST_PAGE_SIZE, guest_page_size);
        }
    }

    fn requires_legacy_layout(&self) -> bool {
        self.legacy
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.select(queue);
        self.registers.write32(mmio::QUEUE_SIZE, size);
        if self.legacy {
            let page = descriptors / u64::from(self.page_size);
            self.registers.write32(mmio::QUEUE_ALIGN, self.page_size);
            self.registers.write32(mmio::QUEUE_PFN, u32::try_from(page).unwrap_or(0));
        } else {
            self.registers.write64(mmio::QUEUE_DESC, descriptors);
            self.registers.write64(mmio::QUEUE_DRIVER, driver_area);
            self.registers.write64(mmio::QUEUE_DEVICE, device_area);
            self.registers.write32(mmio::QUEUE_READY, 1);
        }
    }

    /// Switches a queue off. Does not wait for it to be off: a reset of the device is what this driver waits for.
    fn queue_unset(&mut self, queue: u16) {
        self.select(queue);
        self.registers.write32(if self.legacy { mmio::QUEUE_PFN } else { mmio::QUEUE_READY }, 0);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select(queue);
        match self.registers.read32(if self.legacy { mmio::QUEUE_PFN } else { mmio::QUEUE_READY }) {
            0 => false,
            value => self.legacy || value == 1,
        }
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let pending = self.registers.read32(mmio::INTERRUPT_STATUS);
        self.registers.write32(mmio::INTERRUPT_ACKNOWLEDGE, pending);
        InterruptStatus::from_bits_retain(pending)
    }

    fn read_config_generation(&self) -> u32 {
        if self.legacy { 0 } else { self.registers.read32(mmio::CONFIG_GENERATION) }
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        config::read(&self.registers, mmio::CONFIG, offset)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        config::write(&self.registers, mmio::CONFIG, offset, &value)
    }
}
