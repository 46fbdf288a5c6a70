//! From a PCI function to a controller: the only part that knows of PCI.

use core::fmt;

use pci::{BarError, Command, ConfigSpace, Function};
use platform::{Platform, Registers};

use crate::config::Config;
use crate::controller::Controller;
use crate::event::Failure;
use crate::spec::register::{self, Capabilities};

/// Why a PCI function gave no controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// Its class is not that of an NVMe controller.
    OtherClass,
    /// Its registers cannot be found.
    Bar(BarError),
    /// Its registers cannot be mapped.
    Unmapped,
    /// It takes no memory accesses, or may not use the bus.
    Disabled,
    /// The controller cannot be used.
    Controller(Failure),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherClass => f.write_str("not an NVMe controller"),
            Self::Bar(error) => error.fmt(f),
            Self::Unmapped => f.write_str("the registers cannot be mapped"),
            Self::Disabled => f.write_str("memory accesses or bus mastering cannot be enabled"),
            Self::Controller(failure) => failure.fmt(f),
        }
    }
}

impl core::error::Error for AttachError {}

/// Enables a PCI function of class NVMe, maps its registers and starts it. Call it with nothing else using the
/// function.
///
/// # Errors
/// See [`AttachError`].
pub fn attach<P: Platform, C: ConfigSpace + ?Sized>(
    platform: P,
    function: &Function<'_, C>,
    config: Config,
) -> Result<Controller<P>, AttachError> {
    let identity = function.identity();
    if identity.class.code() != pci::spec::class::NVME {
        return Err(AttachError::OtherClass);
    }
    function.power_on(|ns| platform.pause(ns));
    let bar = function.memory_bar(0).map_err(AttachError::Bar)?;
    let wanted = Command::MEMORY | Command::BUS_MASTER;
    function.enable(Command::INTX_DISABLE);
    if function.enable(wanted) != wanted {
        return Err(AttachError::Disabled);
    }
    let map = |len: u64| {
        let address = bar.region(0, len)?;
        platform.map_registers(address, usize::try_from(len).ok()?)
    };
    // The registers and, with doorbells as close as most have them, those of all our queues.
    let mut registers = map(bar.size.min(NEAR_WINDOW)).ok_or(AttachError::Unmapped)?;
    let needed = window_len(Capabilities(registers.read64(register::CAP)));
    if needed > NEAR_WINDOW && needed <= bar.size {
        registers = map(needed).ok_or(AttachError::Unmapped)?;
    }
    let delay = if is_slow_to_stop(identity.vendor, identity.device) { SLOW_TO_STOP_NS } else { 0 };
    let config = Config { ready_check_delay_ns: config.ready_check_delay_ns.max(delay), ..config };
    Controller::start(platform, registers, config).map_err(AttachError::Controller)
}

/// Bytes of registers that are mapped at first.
const NEAR_WINDOW: u64 = 0x2000;
/// The highest queue id in use.
const LAST_QUEUE: u16 = 2;

/// Bytes of registers up to the last doorbell in use.
const fn window_len(capabilities: Capabilities) -> u64 {
    capabilities.completion_doorbell(LAST_QUEUE) as u64 + 4
}

/// How long those controllers must be left alone after they were disabled.
const SLOW_TO_STOP_NS: u64 = 2_300_000_000;

/// Controllers, by PCI vendor and device, whose ready bit cannot be trusted right after they were disabled.
/// Linux and SPDK know them by the name NVME_QUIRK_DELAY_BEFORE_CHK_RDY.
const fn is_slow_to_stop(vendor: u16, device: u16) -> bool {
    matches!(
        (vendor, device),
        (0x1BB1, 0x0100) | (0x1C58, 0x0003 | 0x0023) | (0x1C5F, 0x0540) | (0x144D, 0xA821 | 0xA822)
    )
}
