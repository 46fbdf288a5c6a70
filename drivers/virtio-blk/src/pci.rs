//! From a PCI function to a transport.
//!
//! The capability list is walked by `virtio-drivers`' `PciRoot`; where its structures lie is then checked against base
//! address registers that the `pci` crate sized. Its `PciTransport` is not made of them: see the [crate] docs.

use core::fmt;

use pci::{Bar, BarError, BarKind, Command, ConfigSpace, Function, spec::capability_id};
use platform::{Clock, Platform, Registers};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{
    ConfigurationAccess, DeviceFunction, DeviceFunctionInfo, HeaderType, PCI_CAP_ID_VNDR, PciRoot,
};
use virtio_drivers::transport::pci::{
    VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG, virtio_device_type,
};

use crate::spec;
use crate::transport::{AnyTransport, LegacyPci, ModernPci};

/// Where a PCI device's registers lie. Plain data: [`open`](Self::open) maps them as often as needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciDevice {
    /// virtio 1.0 or later, or transitional.
    Modern(Structures),
    /// Legacy only.
    Legacy {
        /// First I/O port.
        port: u16,
        /// Number of ports.
        len: u16,
    },
}

/// The register windows of a modern device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structures {
    common: Region,
    notify: Region,
    notify_multiplier: u32,
    device: Option<Region>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    bus_address: u64,
    len: usize,
}

/// Why a function cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// It is no virtio block device at all.
    NotVirtioBlock,
    /// It has no usable common configuration or doorbells, and no legacy I/O ports.
    NoRegisters,
    /// It did not take up memory or I/O decoding or bus mastering.
    CommandRefused(Command),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVirtioBlock => f.write_str("not a virtio block device"),
            Self::NoRegisters => f.write_str("no usable virtio registers: capabilities or base addresses are missing"),
            Self::CommandRefused(missing) => write!(f, "command register bits {:#x} do not stick", missing.bits()),
        }
    }
}

impl core::error::Error for ProbeError {}

/// Longest doorbell region that is mapped: room for the doorbells of the two queues used here, with 32 KiB between them.
const NOTIFY_LIMIT: u64 = 0x1_0000;

/// Whether a function is a virtio block device, modern, transitional or legacy.
pub fn is_virtio_block<C: ConfigSpace + ?Sized>(function: &Function<'_, C>) -> bool {
    let identity = function.identity();
    let info = DeviceFunctionInfo {
        vendor_id: identity.vendor,
        device_id: identity.device,
        class: identity.class.base,
        subclass: identity.class.sub,
        prog_if: identity.class.interface,
        revision: identity.revision,
        header_type: HeaderType::Standard,
    };
    virtio_device_type(&info) == Some(DeviceType::Block)
}

/// Finds a device's registers, and switches on the decoding that they need, bus mastering, and neither INTx nor MSI-X.
///
/// # Errors
/// See [`ProbeError`].
pub fn probe<C: ConfigSpace + ?Sized>(clock: &impl Clock, function: &Function<'_, C>) -> Result<PciDevice, ProbeError> {
    if !is_virtio_block(function) {
        return Err(ProbeError::NotVirtioBlock);
    }
    function.power_on(|ns| clock.pause(ns));
    disable_msi_x(function);
    let transitional = function.identity().device < spec::pci::FIRST_MODERN_DEVICE;
    let device = match find_structures(function) {
        Some(structures) => PciDevice::Modern(structures),
        None if transitional => find_ports(function).ok_or(ProbeError::NoRegisters)?,
        None => return Err(ProbeError::NoRegisters),
    };
    let decoding = match device {
        PciDevice::Modern(_) => Command::MEMORY,
        PciDevice::Legacy { .. } => Command::IO,
    };
    // Without the INTx bit (it came with PCI 2.3) the line is merely raised, and nobody listens.
    let needed = decoding | Command::BUS_MASTER;
    let missing = needed - function.enable(needed | Command::INTX_DISABLE);
    if missing.is_empty() { Ok(device) } else { Err(ProbeError::CommandRefused(missing)) }
}

impl PciDevice {
    /// Maps the registers: a transport of its own for each call. `ports` makes a window of I/O ports from the first
    /// port and their number.
    ///
    /// `None` if the registers cannot be mapped.
    pub fn open<P: Platform, I: Registers>(
        &self,
        platform: &P,
        ports: impl FnOnce(u16, u16) -> I,
    ) -> Option<AnyTransport<P::Registers, I>> {
        match *self {
            Self::Modern(structures) => {
                let map = |region: Region| platform.map_registers(region.bus_address, region.len);
                let device = match structures.device {
                    Some(region) => Some(map(region)?),
                    None => None,
                };
                let (common, notify) = (map(structures.common)?, map(structures.notify)?);
                Some(AnyTransport::Modern(ModernPci::new(common, notify, device, structures.notify_multiplier)))
            }
            Self::Legacy { port, len } => Some(AnyTransport::Legacy(LegacyPci::new(ports(port, len)))),
        }
    }
}

fn find_structures<C: ConfigSpace + ?Sized>(function: &Function<'_, C>) -> Option<Structures> {
    let (mut common, mut notify, mut device) = (None, None, None);
    let address = function.address();
    let place = DeviceFunction { bus: address.bus(), device: address.device(), function: address.function() };
    let root = PciRoot::new(Words(function));
    let mut bars = Bars { function, last: None };
    // The walk itself has no bound; no list can be longer than this.
    for capability in root.capabilities(place).take(48) {
        let (len, kind) = (capability.private_header as u8, (capability.private_header >> 8) as u8);
        if capability.id != PCI_CAP_ID_VNDR || len < spec::pci::CAPABILITY_LEN {
            continue;
        }
        let start = u16::from(capability.offset);
        // Of several structures of a kind, the first usable one counts (4.1.4.1).
        match kind {
            VIRTIO_PCI_CAP_COMMON_CFG if common.is_none() => {
                let exact = spec::pci::COMMON_LEN as u64;
                common = bars.region(start, exact, exact);
            }
            VIRTIO_PCI_CAP_NOTIFY_CFG if notify.is_none() && len >= spec::pci::CAPABILITY_LEN + 4 => {
                let multiplier = start + spec::pci::CAPABILITY_MULTIPLIER;
                if multiplier < pci::spec::CONFIG_SIZE {
                    notify = bars.region(start, 2, NOTIFY_LIMIT).map(|it| (it, function.read32(multiplier)));
                }
            }
            VIRTIO_PCI_CAP_DEVICE_CFG if device.is_none() => {
                device = bars.region(start, 8, size_of::<spec::BlockConfig>() as u64);
            }
            _ => {}
        }
    }
    let (notify, notify_multiplier) = notify?;
    Some(Structures { common: common?, notify, notify_multiplier, device })
}

/// A function's memory regions. The last one is remembered: as a rule all structures are in the same, and sizing one
/// switches the function's decoding off and on, which takes a hypervisor a while.
struct Bars<'f, 'c, C: ?Sized> {
    function: &'f Function<'c, C>,
    last: Option<(u8, Result<Bar, BarError>)>,
}

impl<C: ConfigSpace + ?Sized> Bars<'_, '_, C> {
    fn memory_bar(&mut self, index: u8) -> Result<Bar, BarError> {
        match self.last {
            Some((last, bar)) if last == index => bar,
            _ => {
                let bar = self.function.memory_bar(index);
                self.last = Some((index, bar));
                bar
            }
        }
    }

    /// Where the capability at `start` points to: `None` if that is shorter than `least` or not wholly inside an assigned
    /// memory region; cut off after `most` bytes.
    fn region(&mut self, start: u16, least: u64, most: u64) -> Option<Region> {
        // A structure that runs over the end of configuration space does not exist.
        if start + spec::pci::CAPABILITY_MULTIPLIER > pci::spec::CONFIG_SIZE {
            return None;
        }
        let bar = self.memory_bar(self.function.read8(start + spec::pci::CAPABILITY_BAR)).ok()?;
        let offset = u64::from(self.function.read32(start + spec::pci::CAPABILITY_OFFSET));
        let len = u64::from(self.function.read32(start + spec::pci::CAPABILITY_LENGTH));
        // All of what is announced must be inside, not only what is used.
        let bus_address = bar.region(offset, len)?;
        (len >= least).then_some(Region { bus_address, len: len.min(most) as usize })
    }
}

fn find_ports<C: ConfigSpace + ?Sized>(function: &Function<'_, C>) -> Option<PciDevice> {
    let bar = function.bar(0).ok()?;
    let wanted = spec::legacy::CONFIG + 8;
    let fits = bar.kind == BarKind::Io && bar.is_assigned() && bar.size >= wanted as u64;
    let len = bar.size.min((spec::legacy::CONFIG + size_of::<spec::BlockConfig>()) as u64) as u16;
    let port = u16::try_from(bar.address).ok()?;
    (fits && port.checked_add(len).is_some()).then_some(PciDevice::Legacy { port, len })
}

/// Switches MSI-X off: nothing here is driven by interrupts, and with it the legacy configuration lies elsewhere (4.1.4.10).
fn disable_msi_x<C: ConfigSpace + ?Sized>(function: &Function<'_, C>) {
    const ENABLE: u32 = 1 << 31;
    if let Some(capability) = function.capability(capability_id::MSI_X) {
        let word = function.read32(capability.offset);
        if word & ENABLE != 0 {
            function.write32(capability.offset, word & !ENABLE);
        }
    }
}

/// A function's configuration space, as `virtio-drivers` wants to see it: read-only here.
struct Words<'f, 'c, C: ?Sized>(&'f Function<'c, C>);

impl<C: ConfigSpace + ?Sized> ConfigurationAccess for Words<'_, '_, C> {
    fn read_word(&self, _device_function: DeviceFunction, register_offset: u8) -> u32 {
        self.0.read32(register_offset.into())
    }

    fn write_word(&mut self, _device_function: DeviceFunction, _register_offset: u8, _data: u32) {}

    #[expect(unsafe_code, reason = "the trait of virtio-drivers has an unsafe method")]
    unsafe fn unsafe_clone(&self) -> Self {
        Self(self.0)
    }
}
