//! PCI Express: what kind of port a function is, and whether its link is up.

use crate::spec::{CONFIG_SIZE, capability_id, express};
use crate::{ConfigSpace, Function};

/// What a function is to PCI Express (PCIe 5.0, 7.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A device.
    Endpoint,
    /// A port of the root complex: one device behind it.
    RootPort,
    /// A switch's port towards the root.
    Upstream,
    /// A switch's port away from the root: one device behind it.
    Downstream,
    /// Any other kind, by its number.
    Other(u8),
}

impl PortKind {
    /// Whether only device 0 can be on the bus behind it.
    pub const fn has_one_device(self) -> bool {
        matches!(self, Self::RootPort | Self::Downstream)
    }
}

/// The state of a PCI Express link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Generation of the current speed: 1 is 2.5 GT/s, 2 is 5 GT/s, 3 is 8 GT/s and so on.
    pub speed: u8,
    /// Lanes in use.
    pub width: u8,
    /// Highest generation that the function takes.
    pub max_speed: u8,
    /// Most lanes that the function takes.
    pub max_width: u8,
    /// Whether the data link layer is up; `None` where the port does not say.
    pub active: Option<bool>,
    /// Whether a card is in the port's slot; `None` for functions without a slot.
    pub present: Option<bool>,
}

/// A port's slot whose card can be taken out while the machine runs, after a press on its button (PCIe 5.0, 6.7).
///
/// The press is a request: whoever drives the card lets go of it and then [switches the slot off](Self::power_off).
#[derive(Clone, Copy, Debug)]
pub struct Slot<'c, C: ?Sized> {
    port: Function<'c, C>,
    /// Of slot control and status.
    offset: u16,
}

impl<C: ConfigSpace + ?Sized> Slot<'_, C> {
    /// Whether the button was pressed since this was last asked.
    pub fn take_press(&self) -> bool {
        let word = self.port.read32(self.offset);
        let is_pressed = word != u32::MAX && (word >> 16) as u16 & express::BUTTON_PRESSED != 0;
        if is_pressed {
            // Of the status bits, the zeroes leave the others alone.
            self.port.write32(self.offset, u32::from(express::BUTTON_PRESSED) << 16 | word & 0xFFFF);
        }
        is_pressed
    }

    /// Shows that the request is being dealt with.
    pub fn blink(&self) {
        self.control(express::POWER_INDICATOR, express::POWER_INDICATOR_BLINK);
    }

    /// Takes the power away. The card's driver must have let go of it.
    pub fn power_off(&self) {
        self.control(express::POWER_INDICATOR | express::POWER_OFF, express::POWER_INDICATOR_OFF | express::POWER_OFF);
    }

    fn control(&self, bits: u16, value: u16) {
        let control = self.port.read32(self.offset) as u16;
        self.port.write32(self.offset, u32::from(control & !bits | value));
    }
}

impl<'c, C: ConfigSpace + ?Sized> Function<'c, C> {
    /// The slot behind a port, if it has one with a button and a power switch.
    pub fn slot(&self) -> Option<Slot<'c, C>> {
        let start = self.capability(capability_id::EXPRESS)?.offset;
        if start + express::SLOT_STATUS + 4 > CONFIG_SIZE || !self.port_kind()?.has_one_device() {
            return None;
        }
        let register = (self.read32(start + express::CAPABILITIES) >> 16) as u16;
        let has_all =
            self.read32(start + express::SLOT_CAPABILITIES) & express::BUTTON_AND_POWER == express::BUTTON_AND_POWER;
        let is_slot = register & express::SLOT_IMPLEMENTED != 0 && has_all;
        is_slot.then_some(Slot { port: *self, offset: start + express::SLOT_STATUS })
    }

    /// What the function is to PCI Express; `None` for conventional PCI.
    pub fn port_kind(&self) -> Option<PortKind> {
        let capability = self.capability(capability_id::EXPRESS)?;
        let register = (self.read32(capability.offset + express::CAPABILITIES) >> 16) as u16;
        Some(match (register >> 4) as u8 & 0xF {
            0 | 1 => PortKind::Endpoint,
            4 => PortKind::RootPort,
            5 => PortKind::Upstream,
            6 => PortKind::Downstream,
            other => PortKind::Other(other),
        })
    }

    /// The state of the function's link; `None` for conventional PCI, and for functions inside the root complex, which have
    /// no link.
    pub fn link(&self) -> Option<Link> {
        let start = self.capability(capability_id::EXPRESS)?.offset;
        if start + express::SLOT_STATUS + 4 > CONFIG_SIZE {
            return None;
        }
        let register = (self.read32(start + express::CAPABILITIES) >> 16) as u16;
        let capabilities = self.read32(start + express::LINK_CAPABILITIES);
        let status = (self.read32(start + express::LINK_STATUS) >> 16) as u16;
        let max_width = (capabilities >> 4) as u8 & 0x3F;
        if max_width == 0 {
            return None;
        }
        let reported = capabilities & express::LINK_ACTIVE_REPORTED != 0;
        let slot = register & express::SLOT_IMPLEMENTED != 0;
        Some(Link {
            speed: status as u8 & 0xF,
            width: (status >> 4) as u8 & 0x3F,
            max_speed: capabilities as u8 & 0xF,
            max_width,
            active: reported.then_some(status & express::LINK_ACTIVE != 0),
            present: slot.then(|| (self.read32(start + express::SLOT_STATUS) >> 16) as u16 & express::PRESENCE != 0),
        })
    }
}
