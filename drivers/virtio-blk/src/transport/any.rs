//! Any of the three transports, so that a machine's disks are all of one type.

use platform::Registers;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{LegacyPci, Mmio, ModernPci};

/// Whatever way there is to a device. `R` are registers in memory, `I` are I/O ports.
pub enum AnyTransport<R, I> {
    /// PCI, virtio 1.0 and later.
    Modern(ModernPci<R>),
    /// PCI, legacy.
    Legacy(LegacyPci<I>),
    /// Without a bus.
    Mmio(Mmio<R>),
}

impl<R, I> AnyTransport<R, I> {
    /// What it is, in a word, for logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Modern(_) => "modern PCI",
            Self::Legacy(_) => "legacy PCI",
            Self::Mmio(_) => "MMIO",
        }
    }
}

/// Hands a call on to the transport that it is.
macro_rules! each {
    ($any:expr, $transport:ident => $call:expr) => {
        match $any {
            AnyTransport::Modern($transport) => $call,
            AnyTransport::Legacy($transport) => $call,
            AnyTransport::Mmio($transport) => $call,
        }
    };
}

impl<R: Registers, I: Registers> Transport for AnyTransport<R, I> {
    fn device_type(&self) -> DeviceType {
        each!(self, transport => transport.device_type())
    }

    fn read_device_features(&mut self) -> u64 {
        each!(self, transport => transport.read_device_features())
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        each!(self, transport => transport.write_driver_features(driver_features));
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        each!(self, transport => transport.max_queue_size(queue))
    }

    fn notify(&mut self, queue: u16) {
        each!(self, transport => transport.notify(queue));
    }

    fn get_status(&self) -> DeviceStatus {
        each!(self, transport => transport.get_status())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        each!(self, transport => transport.set_status(status));
    }

    fn set_guest_page_size(&mut self, guest_page_size: u32) {
        each!(self, transport => transport.set_guest_page_size(guest_page_size));
    }

    fn requires_legacy_layout(&self) -> bool {
        each!(self, transport => transport.requires_legacy_layout())
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        each!(self, transport => transport.queue_set(queue, size, descriptors, driver_area, device_area));
    }

    fn queue_unset(&mut self, queue: u16) {
        each!(self, transport => transport.queue_unset(queue));
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        each!(self, transport => transport.queue_used(queue))
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        each!(self, transport => transport.ack_interrupt())
    }

    fn read_config_generation(&self) -> u32 {
        each!(self, transport => transport.read_config_generation())
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        each!(self, transport => transport.read_config_space(offset))
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        each!(self, transport => transport.write_config_space(offset, value))
    }
}
