//! Where a function is: segment, bus, device, function.

use core::fmt;

use crate::spec;

/// The place of a function. Displayed as `0000:00:1f.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    segment: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl Address {
    /// A place; `None` if the device is above 31 or the function above 7.
    pub const fn new(segment: u16, bus: u8, device: u8, function: u8) -> Option<Self> {
        if device < spec::DEVICES_PER_BUS && function < spec::FUNCTIONS_PER_DEVICE {
            Some(Self { segment, bus, device, function })
        } else {
            None
        }
    }

    /// The segment group, 0 on most machines.
    pub const fn segment(self) -> u16 {
        self.segment
    }

    /// The bus in the segment.
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The device on the bus, 0 to 31.
    pub const fn device(self) -> u8 {
        self.device
    }

    /// The function of the device, 0 to 7.
    pub const fn function(self) -> u8 {
        self.function
    }

    /// Bus, device and function packed into 16 bits, as requester ids, ECAM addresses (shifted left by 12) and the
    /// CF8h port (shifted left by 8) have them.
    pub const fn routing_id(self) -> u16 {
        (self.bus as u16) << 8 | (self.device as u16) << 3 | self.function as u16
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.device, self.function)
    }
}
