//! PCI devices from before virtio 1.0: I/O ports, queues of fixed size.

use platform::Registers;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::config;
use crate::spec::legacy;

/// A PCI device by its legacy registers (4.1.4.10): what `disable-modern=on` leaves, and what hosts from before 2016 offer.
///
/// `R` is the window of I/O ports that base address register 0 names. MSI-X must be off, since it moves the device
/// configuration; [`probe`](crate::pci::probe) sees to it.
pub struct LegacyPci<R> {
    ports: R,
}

impl<R: Registers> LegacyPci<R> {
    /// A device at these ports.
    pub const fn new(ports: R) -> Self {
        Self { ports }
    }
}

impl<R: Registers> Transport for LegacyPci<R> {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        self.ports.read32(legacy::DEVICE_FEATURES).into()
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.ports.write32(legacy::DRIVER_FEATURES, driver_features as u32);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.ports.write16(legacy::QUEUE_SELECT, queue);
        self.ports.read16(legacy::QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        self.ports.write16(legacy::QUEUE_NOTIFY, queue);
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.ports.read8(legacy::DEVICE_STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.ports.write8(legacy::DEVICE_STATUS, status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        true
    }

    fn queue_set(&mut self, queue: u16, _size: u32, descriptors: PhysAddr, _driver: PhysAddr, _device: PhysAddr) {
        // The two rings follow the descriptors at places that the size gives.
        let page = descriptors / legacy::PAGE_SIZE;
        self.ports.write16(legacy::QUEUE_SELECT, queue);
        self.ports.write32(legacy::QUEUE_ADDRESS, u32::try_from(page).unwrap_or(0));
    }

    fn queue_unset(&mut self, queue: u16) {
        self.ports.write16(legacy::QUEUE_SELECT, queue);
        self.ports.write32(legacy::QUEUE_ADDRESS, 0);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.ports.write16(legacy::QUEUE_SELECT, queue);
        self.ports.read32(legacy::QUEUE_ADDRESS) != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::from_bits_retain(self.ports.read8(legacy::ISR_STATUS).into())
    }

    /// Always 0: there is none, and the configuration is to be read twice.
    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        config::read(&self.ports, legacy::CONFIG, offset)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        config::write(&self.ports, legacy::CONFIG, offset, &value)
    }
}
