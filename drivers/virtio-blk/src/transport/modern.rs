//! PCI devices of virtio 1.0 and later, and transitional ones used as such.

use platform::Registers;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::config;
use crate::spec::pci;

/// Queues whose doorbells are remembered: requests, and the crash port's.
const REMEMBERED: usize = 2;

/// A PCI device by the structures that its capabilities point to (4.1.4).
///
/// Made by [`PciDevice::open`](crate::pci::PciDevice::open).
pub struct ModernPci<R> {
    common: R,
    notify: R,
    device: Option<R>,
    /// Bytes between doorbells; 0 means that all queues share one.
    notify_multiplier: u32,
    doorbells: [Option<usize>; REMEMBERED],
}

impl<R: Registers> ModernPci<R> {
    pub(crate) const fn new(common: R, notify: R, device: Option<R>, notify_multiplier: u32) -> Self {
        Self { common, notify, device, notify_multiplier, doorbells: [None; REMEMBERED] }
    }

    /// Where a queue's doorbell is; `None` if the device says that it is outside the doorbells' region.
    fn find_doorbell(&mut self, queue: u16) -> Option<usize> {
        self.common.write16(pci::QUEUE_SELECT, queue);
        let number = self.common.read16(pci::QUEUE_NOTIFY_OFF);
        let offset = usize::from(number).checked_mul(self.notify_multiplier as usize)?;
        let inside = offset.is_multiple_of(2) && offset.checked_add(2)? <= self.notify.len();
        let doorbell = inside.then_some(offset);
        if let Some(remembered) = self.doorbells.get_mut(usize::from(queue)) {
            *remembered = doorbell;
        }
        doorbell
    }
}

impl<R: Registers> Transport for ModernPci<R> {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        self.common.write32(pci::DEVICE_FEATURE_SELECT, 0);
        let low = self.common.read32(pci::DEVICE_FEATURE);
        self.common.write32(pci::DEVICE_FEATURE_SELECT, 1);
        u64::from(self.common.read32(pci::DEVICE_FEATURE)) << 32 | u64::from(low)
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.common.write32(pci::DRIVER_FEATURE_SELECT, 0);
        self.common.write32(pci::DRIVER_FEATURE, driver_features as u32);
        self.common.write32(pci::DRIVER_FEATURE_SELECT, 1);
        self.common.write32(pci::DRIVER_FEATURE, (driver_features >> 32) as u32);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.common.write16(pci::QUEUE_SELECT, queue);
        self.common.read16(pci::QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        let remembered = self.doorbells.get(usize::from(queue)).copied().flatten();
        if let Some(offset) = remembered.or_else(|| self.find_doorbell(queue)) {
            self.notify.write16(offset, queue);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.common.read8(pci::DEVICE_STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.common.write8(pci::DEVICE_STATUS, status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        if self.find_doorbell(queue).is_none() {
            return;
        }
        self.common.write16(pci::QUEUE_SELECT, queue);
        self.common.write16(pci::QUEUE_SIZE, size as u16);
        self.common.write64(pci::QUEUE_DESC, descriptors);
        self.common.write64(pci::QUEUE_DRIVER, driver_area);
        self.common.write64(pci::QUEUE_DEVICE, device_area);
        self.common.write16(pci::QUEUE_ENABLE, 1);
    }

    /// Does nothing: a queue goes off by a reset of the device.
    fn queue_unset(&mut self, _queue: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.common.write16(pci::QUEUE_SELECT, queue);
        self.common.read16(pci::QUEUE_ENABLE) == 1
    }

    /// None is ever pending: interrupts are off.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.common.read8(pci::CONFIG_GENERATION).into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        config::read(self.device.as_ref().ok_or(Error::ConfigSpaceMissing)?, 0, offset)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        config::write(self.device.as_ref().ok_or(Error::ConfigSpaceMissing)?, 0, offset, &value)
    }
}
