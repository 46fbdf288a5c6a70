//! Finding every function of a segment, each bus visited at most once.

use core::ops::RangeInclusive;

use crate::spec::{DEVICES_PER_BUS, FUNCTIONS_PER_DEVICE};
use crate::{Address, ConfigSpace, Function};

/// Finds the functions of a segment: those on bus 0, and on every bus that a bridge leads to.
///
/// Bridges must have been numbered, as firmware does.
pub fn scan<C: ConfigSpace + ?Sized>(config: &C, segment: u16) -> Scan<'_, C> {
    scan_from(config, segment, &[0])
}

/// As [`scan`], from the given root buses: machines with several host bridges have one each. For those that nobody
/// has named there is [`Scan::with_unnamed_roots`].
pub fn scan_from<'c, C: ConfigSpace + ?Sized>(config: &'c C, segment: u16, roots: &[u8]) -> Scan<'c, C> {
    let mut scan = Scan {
        config,
        segment,
        pending: BusSet::default(),
        seen: BusSet::default(),
        single: BusSet::default(),
        place: None,
        functions: 1,
        // Empty.
        unnamed: RangeInclusive::new(1, 0),
        devices: 0,
    };
    for root in roots {
        scan.pending.insert(*root);
        scan.seen.insert(*root);
    }
    scan
}

/// Iterator over the functions of a segment; see [`scan`].
///
/// At most 256 × 32 × 8 addresses are looked at, whatever the bridges say.
pub struct Scan<'c, C: ?Sized> {
    config: &'c C,
    segment: u16,
    /// Buses still to be visited.
    pending: BusSet,
    /// Buses that were ever pending.
    seen: BusSet,
    /// Buses on which only device 0 can be.
    single: BusSet,
    /// The next address to look at: bus, device, function.
    place: Option<(u8, u8, u8)>,
    /// Functions to look at in the current device.
    functions: u8,
    /// Buses on which root buses are still looked for, and at how many devices of each.
    unnamed: RangeInclusive<u8>,
    devices: u8,
}

impl<C: ConfigSpace + ?Sized> Scan<'_, C> {
    /// In the end, also looks for root buses that neither was named nor a bridge leads to: those of these buses where one of the
    /// first `devices` devices answers.
    #[must_use]
    pub fn with_unnamed_roots(self, buses: RangeInclusive<u8>, devices: u8) -> Self {
        Self { unnamed: buses, devices: devices.min(DEVICES_PER_BUS), ..self }
    }

    fn find_root(&mut self) -> Option<u8> {
        while let Some(bus) = self.unnamed.next() {
            let answers = |device| {
                Address::new(self.segment, bus, device, 0).and_then(|at| Function::probe(self.config, at)).is_some()
            };
            if !self.seen.contains(bus) && (0..self.devices).any(answers) {
                self.seen.insert(bus);
                return Some(bus);
            }
        }
        None
    }

    /// Moves on to the next device of the bus, or ends the bus.
    fn next_device(&mut self, bus: u8, device: u8) {
        let devices = if self.single.contains(bus) { 1 } else { DEVICES_PER_BUS };
        self.place = (device + 1 < devices).then_some((bus, device + 1, 0));
    }

    fn follow<'c>(&mut self, function: &Function<'c, C>) {
        let Some(bus) = function.secondary_bus() else { return };
        if bus == 0 || self.seen.contains(bus) {
            return;
        }
        self.seen.insert(bus);
        self.pending.insert(bus);
        if function.port_kind().is_some_and(|kind| kind.has_one_device()) {
            self.single.insert(bus);
        }
    }
}

impl<'c, C: ConfigSpace + ?Sized> Iterator for Scan<'c, C> {
    type Item = Function<'c, C>;

    fn next(&mut self) -> Option<Function<'c, C>> {
        loop {
            let (bus, device, number) = match self.place {
                Some(place) => place,
                None => (self.pending.take_first().or_else(|| self.find_root())?, 0, 0),
            };
            let address = Address::new(self.segment, bus, device, number)?;
            let found = Function::probe(self.config, address);
            if number == 0 {
                // Without function 0 there are no others (PCI 3.0, 3.2.2.3.4).
                let several = found.is_some_and(|function| function.identity().multi_function);
                self.functions = if several { FUNCTIONS_PER_DEVICE } else { 1 };
            }
            if number + 1 < self.functions {
                self.place = Some((bus, device, number + 1));
            } else {
                self.next_device(bus, device);
            }
            if let Some(function) = found {
                self.follow(&function);
                return Some(function);
            }
        }
    }
}

/// A set of bus numbers.
#[derive(Default)]
struct BusSet([u64; 4]);

impl BusSet {
    fn contains(&self, bus: u8) -> bool {
        self.0[usize::from(bus / 64)] & 1 << (bus % 64) != 0
    }

    fn insert(&mut self, bus: u8) {
        self.0[usize::from(bus / 64)] |= 1 << (bus % 64);
    }

    fn take_first(&mut self) -> Option<u8> {
        for (index, word) in self.0.iter_mut().enumerate() {
            if *word != 0 {
                let bit = word.trailing_zeros();
                *word &= *word - 1;
                return Some((index * 64) as u8 + bit as u8);
            }
        }
        None
    }
}
