//! One function: who it is, its registers, what it may do.

use core::fmt;
use core::ops::RangeInclusive;

use crate::spec::{CONFIG_SIZE, Command, capability_id, header, power};
use crate::{Address, Capabilities, Capability, ConfigSpace, ExtendedCapabilities};

/// A function that answered. A handle: copying it copies no state.
pub struct Function<'c, C: ?Sized> {
    config: &'c C,
    address: Address,
}

impl<C: ?Sized> Clone for Function<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: ?Sized> Copy for Function<'_, C> {}

impl<C: ?Sized> fmt::Debug for Function<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({})", self.address)
    }
}

/// Who a function says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who made it.
    pub vendor: u16,
    /// What its maker calls it.
    pub device: u16,
    /// Its maker's revision.
    pub revision: u8,
    /// What it does.
    pub class: Class,
    /// Subsystem vendor and device; `(0, 0)` for headers that have none.
    pub subsystem: (u16, u16),
    /// How the rest of its header is laid out.
    pub header: Header,
    /// Whether there may be functions 1 to 7 beside it.
    pub multi_function: bool,
}

/// What a function does ([`spec::class`](crate::spec::class) names those that matter here).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Base class.
    pub base: u8,
    /// Subclass.
    pub sub: u8,
    /// Programming interface.
    pub interface: u8,
}

impl Class {
    /// Base class, subclass and programming interface, to compare with [`spec::class`](crate::spec::class).
    pub const fn code(self) -> (u8, u8, u8) {
        (self.base, self.sub, self.interface)
    }
}

/// Layout of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Type 0: a device with up to six base address registers.
    Device,
    /// Type 1: a bridge to another bus, with up to two.
    Bridge,
    /// Any other type; it has no base address registers that this crate looks at.
    Other(u8),
}

impl Header {
    const fn decode(header_type: u8) -> Self {
        match header_type & !header::MULTI_FUNCTION {
            0 => Self::Device,
            1 => Self::Bridge,
            other => Self::Other(other),
        }
    }

    /// How many base address registers there are.
    pub const fn bars(self) -> u8 {
        match self {
            Self::Device => 6,
            Self::Bridge => 2,
            Self::Other(_) => 0,
        }
    }
}

impl<'c, C: ConfigSpace + ?Sized> Function<'c, C> {
    /// Looks for a function at an address; `None` if nobody answers there.
    pub fn probe(config: &'c C, address: Address) -> Option<Self> {
        let function = Self { config, address };
        let vendor = function.read16(header::ID);
        // Zero is no vendor either; some bridges answer so for what is not there.
        (vendor != header::NO_VENDOR && vendor != 0).then_some(function)
    }

    /// Where it is.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Whether it still answers: one that was pulled out reads as all ones.
    pub fn is_present(&self) -> bool {
        self.read16(header::ID) != header::NO_VENDOR
    }

    /// Reads who it is.
    pub fn identity(&self) -> Identity {
        let id = self.read32(header::ID);
        let class = self.read32(header::CLASS_REVISION);
        let header_type = self.header_type();
        let header = Header::decode(header_type);
        let subsystem = match header {
            Header::Device => self.read32(header::SUBSYSTEM),
            Header::Bridge | Header::Other(_) => 0,
        };
        Identity {
            vendor: id as u16,
            device: (id >> 16) as u16,
            revision: class as u8,
            class: Class { base: (class >> 24) as u8, sub: (class >> 16) as u8, interface: (class >> 8) as u8 },
            subsystem: (subsystem as u16, (subsystem >> 16) as u16),
            header,
            multi_function: header_type & header::MULTI_FUNCTION != 0,
        }
    }

    fn header_type(&self) -> u8 {
        self.read8(header::TYPE + 2)
    }

    /// Layout of its header.
    pub fn header(&self) -> Header {
        Header::decode(self.header_type())
    }

    /// The bus behind a bridge; `None` for other functions.
    pub fn secondary_bus(&self) -> Option<u8> {
        (self.header() == Header::Bridge).then(|| (self.read32(header::BUS_NUMBERS) >> 8) as u8)
    }

    /// All buses behind a bridge, and behind bridges there; `None` for other functions.
    pub fn buses_behind(&self) -> Option<RangeInclusive<u8>> {
        let numbers = self.read32(header::BUS_NUMBERS);
        (self.header() == Header::Bridge).then_some((numbers >> 8) as u8..=(numbers >> 16) as u8)
    }

    /// Reads 32 bits; the offset is rounded down to a multiple of 4.
    pub fn read32(&self, offset: u16) -> u32 {
        self.config.read32(self.address, offset & !3)
    }

    /// Writes 32 bits; the offset is rounded down to a multiple of 4.
    pub fn write32(&self, offset: u16, value: u32) {
        self.config.write32(self.address, offset & !3, value);
    }

    /// Reads 16 bits; the offset is rounded down to a multiple of 2.
    pub fn read16(&self, offset: u16) -> u16 {
        (self.read32(offset) >> (8 * u32::from(offset & 2))) as u16
    }

    /// Reads 8 bits.
    pub fn read8(&self, offset: u16) -> u8 {
        (self.read32(offset) >> (8 * u32::from(offset & 3))) as u8
    }

    /// The command register.
    pub fn command(&self) -> Command {
        Command::from_bits_retain(self.read16(header::COMMAND_STATUS))
    }

    /// Writes the command register.
    pub fn set_command(&self, command: Command) {
        // The upper half is the status register, whose bits are cleared by writing ones: zeroes leave it alone.
        self.write32(header::COMMAND_STATUS, u32::from(command.bits()));
    }

    /// Sets bits of the command register, and says which of them are set then: a device
    /// need not have all.
    pub fn enable(&self, bits: Command) -> Command {
        self.set_command(self.command() | bits);
        self.command() & bits
    }

    /// Clears bits of the command register. Without [`Command::BUS_MASTER`] a device starts no transfer any more.
    pub fn disable(&self, bits: Command) {
        self.set_command(self.command() & !bits);
    }

    /// Walks the capability list.
    pub fn capabilities(&self) -> Capabilities<'c, C> {
        Capabilities::new(*self)
    }

    /// The first capability with this id ([`capability_id`]).
    pub fn capability(&self, id: u8) -> Option<Capability> {
        self.capabilities().find(|capability| capability.id == id)
    }

    /// Walks the extended capabilities of PCI Express; empty where extended space cannot be reached.
    pub fn extended_capabilities(&self) -> ExtendedCapabilities<'c, C> {
        ExtendedCapabilities::new(*self)
    }

    /// Whether the function is in power state D0, where it does its work; `None` if it has no power management and
    /// so is always on.
    pub fn is_powered(&self) -> Option<bool> {
        Some(self.read32(self.power_control()?) & power::STATE_MASK == 0)
    }

    /// Puts the function into power state D0, if it is in another. From D3hot it then has to be left alone for a while, for which
    /// `pause` is called with the nanoseconds, and may have lost its base addresses, which it is given again (PCI Power
    /// Management 1.2, 5.4). A device's command register is its driver's to set.
    pub fn power_on(&self, pause: impl FnOnce(u64)) {
        let Some(offset) = self.power_control() else { return };
        let control = self.read32(offset);
        if control & power::STATE_MASK == 0 {
            return;
        }
        let register = |index: u8| header::BAR0 + 4 * u16::from(index);
        let addresses = [0, 1, 2, 3, 4, 5].map(|index| self.read32(register(index)));
        self.write32(offset, control & !(power::STATE_MASK | power::PME_STATUS));
        pause(power::RECOVERY_NS);
        for (index, address) in (0..self.header().bars()).zip(addresses) {
            if self.read32(register(index)) != address {
                self.write32(register(index), address);
            }
        }
    }

    fn power_control(&self) -> Option<u16> {
        let offset = self.capability(capability_id::POWER_MANAGEMENT)?.offset + power::CONTROL;
        (offset < CONFIG_SIZE).then_some(offset)
    }
}
