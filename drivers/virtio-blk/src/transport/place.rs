//! Where MMIO devices are: command line words and ACPI.

use crate::spec::{BlockConfig, acpi, mmio};

/// A device's window of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioPlace {
    /// First byte, on the bus.
    pub bus_address: u64,
    /// Bytes: as many of those announced as a driver may need.
    pub len: usize,
}

/// What is mapped of a window at most, however long it is said to be: all registers, and all of a block device's configuration.
const MAX_LEN: usize = 0x1000;
const _: () = assert!(mmio::CONFIG + size_of::<BlockConfig>() <= MAX_LEN);

impl MmioPlace {
    /// Decodes a command line word `virtio_mmio.device=<size>[K|M|G]@<address>:<irq>[:<id>]`, such as QEMU's microvm,
    /// Firecracker and others add for each device. `None` for any other word and for one that makes no sense.
    pub fn parse(word: &str) -> Option<Self> {
        let (size, rest) = word.strip_prefix("virtio_mmio.device=")?.split_once('@')?;
        let (address, _interrupt) = rest.split_once(':')?;
        let (digits, shift) = match size.as_bytes().last()? {
            b'k' | b'K' => (&size[..size.len() - 1], 10),
            b'm' | b'M' => (&size[..size.len() - 1], 20),
            b'g' | b'G' => (&size[..size.len() - 1], 30),
            _ => (size, 0),
        };
        let len = usize::try_from(number(digits)?.checked_mul(1 << shift)?).ok()?;
        Self::checked(number(address)?, len)
    }

    /// Finds the devices that an ACPI table declares: the hardware id of virtio-mmio, and the window in the resources that follow.
    ///
    /// `aml` is a DSDT or SSDT, of which nothing is trusted. This is no interpreter: it finds what is
    /// spelt out, as hypervisors do, and what is not a device after all is found out by [`Mmio::probe`](super::Mmio::probe).
    pub fn find_all(aml: &[u8]) -> impl Iterator<Item = Self> + '_ {
        let ids = aml.windows(acpi::HARDWARE_ID.len()).enumerate().filter(|(_, bytes)| *bytes == acpi::HARDWARE_ID);
        ids.filter_map(|(start, _)| {
            let rest = aml.get(start + acpi::HARDWARE_ID.len()..)?;
            let rest = rest.get(..acpi::DEVICE_LEN).unwrap_or(rest);
            // The resources of the next device are not this one's.
            let next = rest.windows(acpi::HARDWARE_ID.len()).position(|bytes| bytes == acpi::HARDWARE_ID);
            let rest = rest.get(..next.unwrap_or(rest.len()))?;
            let resource = rest.windows(acpi::MEMORY32_LEN).find(|bytes| bytes.starts_with(&acpi::MEMORY32))?;
            let word = |at: usize| Some(u32::from_le_bytes(resource.get(at..at + 4)?.try_into().ok()?));
            Self::checked(word(acpi::MEMORY32_BASE)?.into(), word(acpi::MEMORY32_SIZE)? as usize)
        })
    }

    fn checked(bus_address: u64, len: usize) -> Option<Self> {
        bus_address.checked_add(len as u64)?;
        // The fixed registers, and the capacity.
        (len >= mmio::CONFIG + 8).then_some(Self { bus_address, len: len.min(MAX_LEN) })
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
