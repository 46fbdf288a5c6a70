//! PCI configuration space, by I/O ports or mapped into memory.

use crate::arch::{acpi, port};
use crate::devices::platform::{Machine, MappedRegisters};
use pci::{Address, ConfigSpace};
use platform::{Platform, Registers};
use spin::Mutex;

/// Configuration address and data ports (PCI 3.0, 3.2.2.3.2).
const ADDRESS: u16 = 0xCF8;
const DATA: u16 = 0xCFC;
const ENABLE: u32 = 1 << 31;
/// End of the space that the ports reach.
const PORT_SPACE: u16 = 256;
/// Bytes of mapped configuration space a bus.
const BUS: u64 = 1 << 20;
/// Buses of which the mapped space is used. Each costs page tables; the rest is reached by the ports.
const MAPPED_BUSES: u64 = 4;

/// The two ports are one access.
static PORTS: Mutex<()> = Mutex::new(());

/// The machine's configuration space, segment 0.
pub struct Config {
    mapped: Option<(u8, MappedRegisters)>,
}

impl Config {
    /// By the ports, and where the firmware's tables have it, the extended space of the first few buses in memory.
    pub fn new<M: acpi::Memory + ?Sized>(tables: Option<&acpi::Tables<'_, M>>) -> Self {
        let mapped = tables.and_then(acpi::Tables::pci_express).and_then(|(base, first, last)| {
            let buses = (u64::from(last - first) + 1).min(MAPPED_BUSES);
            Some((first, Machine.map_registers(base, (buses * BUS) as usize)?))
        });
        Self { mapped }
    }

    /// Whether extended configuration space can be reached.
    pub fn is_extended(&self) -> bool {
        self.mapped.is_some()
    }

    fn in_memory(&self, address: Address, offset: u16) -> Option<(&MappedRegisters, usize)> {
        let (first, registers) = self.mapped.as_ref()?;
        let bus = address.bus().checked_sub(*first)?;
        let place = (usize::from(address.routing_id() & 0xFF) << 12) + (usize::from(bus) << 20) + usize::from(offset);
        (place + 4 <= registers.len() && address.segment() == 0).then_some((registers, place))
    }
}

fn select(address: Address, offset: u16) -> Option<u32> {
    let reachable = address.segment() == 0 && offset < PORT_SPACE;
    reachable.then(|| ENABLE | u32::from(address.routing_id()) << 8 | u32::from(offset & !3))
}

impl ConfigSpace for Config {
    fn read32(&self, address: Address, offset: u16) -> u32 {
        if let Some((registers, place)) = self.in_memory(address, offset) {
            return registers.read32(place);
        }
        let Some(word) = select(address, offset) else { return u32::MAX };
        let _ports = PORTS.lock();
        // SAFETY: reading configuration space has no effect on memory, and the lock keeps the pair of accesses together.
        unsafe {
            port::write(ADDRESS, word);
            port::read(DATA)
        }
    }

    fn write32(&self, address: Address, offset: u16, value: u32) {
        if let Some((registers, place)) = self.in_memory(address, offset) {
            return registers.write32(place, value);
        }
        let Some(word) = select(address, offset) else { return };
        let _ports = PORTS.lock();
        // SAFETY: the drivers, which own their functions, call this to set them up; the lock keeps the pair together.
        unsafe {
            port::write(ADDRESS, word);
            port::write(DATA, value);
        }
    }
}
