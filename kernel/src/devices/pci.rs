//! PCI configuration space, by I/O ports or mapped into memory.

use crate::arch::{acpi, cpu, port};
use crate::devices::platform::{Machine, MappedRegisters};
use alloc::vec::Vec;
use core::iter;
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
/// Most host bridges that the firmware's word is taken for.
const MAX_ROOTS: usize = 256;

/// The two ports are one access.
static PORTS: Mutex<()> = Mutex::new(());

/// The machine's configuration space, segment 0.
pub struct Config {
    mapped: Option<(u8, MappedRegisters)>,
    /// Buses that host bridges begin, as the firmware's byte code has them.
    roots: Vec<u8>,
    /// The last bus that there can be.
    last: u8,
}

impl Config {
    /// By the ports, and where the firmware's tables have it, the extended space of the first few buses in memory.
    pub fn new<M: acpi::Memory + ?Sized>(tables: Option<&acpi::Tables<'_, M>>) -> Self {
        let ranges = || tables.into_iter().flat_map(acpi::Tables::pci_express);
        for range in ranges().filter(|range| range.segment != 0) {
            crate::survey::warning(format_args!(
                "devices in PCI segment {}, buses {} to {}, are not seen",
                range.segment, range.first, range.last
            ));
        }
        let ranges = || ranges().filter(|range| range.segment == 0);
        let mapped = ranges().next().and_then(|range| {
            let buses = (u64::from(range.last - range.first) + 1).min(MAPPED_BUSES);
            let address = range.address.checked_add(u64::from(range.first) * BUS)?;
            Some((range.first, Machine.map_registers(address, (buses * BUS) as usize)?))
        });
        let program = tables.and_then(acpi::Tables::program).unwrap_or_default();
        let roots = iter::once(0).chain(acpi::root_buses(program)).take(MAX_ROOTS).collect();
        Self { mapped, roots, last: ranges().map(|range| range.last).max().unwrap_or(u8::MAX) }
    }

    /// Every function that can be found. Where the firmware does not say which buses host bridges begin, each bus that no bridge leads
    /// to is asked. On a virtual machine, where a question costs more, only its first device is: the host's tables are to be believed.
    pub fn functions(&self) -> pci::Scan<'_, Self> {
        let devices = if cpu::is_virtual() { 1 } else { pci::spec::DEVICES_PER_BUS };
        pci::scan_from(self, 0, &self.roots).with_unnamed_roots(0..=self.last, devices)
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
