//! Hot-plug slots: a disk whose button is pressed is let go, its slot dark.
//!
//! ```text
//! Resting ── button pressed ──► LettingGo: log written out, consoles stopped, controller shut down ──► Off
//! ```
//! Only PCI Express's own hot-plug is answered, as real machines have it, and only while the program pumps. Where the firmware keeps
//! that to itself (ACPI hot-plug, QEMU's default) a request goes to its byte code, which nobody here runs: the disk stays, and goes on.
//! A disk that is pulled out without a word is noticed by its registers, which then read as all ones.

use super::disk::Name;
use super::pci::Config;
use crate::consoles;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use log::info;
use pci::{Address, Command, ConfigSpace, Function};
use spin::Mutex;

/// How often buttons are looked at.
const INTERVAL_NS: u64 = 100_000_000;
/// How long what was logged may take to become durable before a disk is let go without.
const PATIENCE_NS: u64 = 3_000_000_000;

struct Slot {
    port: Address,
    buses: RangeInclusive<u8>,
    /// By when the disks are let go, since the button was pressed.
    leaving_until_ns: Option<u64>,
}

struct Slots {
    slots: Vec<Slot>,
    /// The disks that there are, by a name on the same controller.
    disks: Vec<(Address, Name)>,
    next_ns: u64,
}

static SLOTS: Mutex<Slots> = Mutex::new(Slots { slots: Vec::new(), disks: Vec::new(), next_ns: 0 });

/// Watches the slot of a port, if the function is one and has one.
pub fn watch<C: ConfigSpace + ?Sized>(function: &Function<'_, C>) {
    if let (Some(slot), Some(buses)) = (function.slot(), function.buses_behind()) {
        // What was pressed before now was not meant for us.
        slot.take_press();
        SLOTS.lock().slots.push(Slot { port: function.address(), buses, leaving_until_ns: None });
    }
}

/// Notes where a disk is.
pub fn note_disk(address: Address, name: Name) {
    SLOTS.lock().disks.push((address, name));
}

/// Looks whether somebody wants a disk back. Never waits.
pub fn poll(config: &Config, now: u64) {
    let Some(mut slots) = SLOTS.try_lock() else { return };
    let Slots { slots, disks, next_ns } = &mut *slots;
    let looks = now >= *next_ns;
    if looks {
        *next_ns = now.saturating_add(INTERVAL_NS);
    }
    for slot in slots {
        if looks || slot.leaving_until_ns.is_some() {
            slot.poll(config, disks, now);
        }
    }
}

impl Slot {
    fn poll(&mut self, config: &Config, disks: &[(Address, Name)], now: u64) {
        let Some(port) = Function::probe(config, self.port) else { return };
        let Some(switch) = port.slot() else { return };
        let is_behind =
            |address: &Address| address.segment() == self.port.segment() && self.buses.contains(&address.bus());
        let disks = disks.iter().filter(|(address, _)| is_behind(address));
        match self.leaving_until_ns {
            None if switch.take_press() => {
                info!("slot {}: its button was pressed", self.port);
                switch.blink();
                self.leaving_until_ns = Some(now.saturating_add(PATIENCE_NS));
            }
            None => {}
            Some(until_ns) => {
                // Each of them is asked each time.
                let is_free =
                    disks.clone().fold(true, |free, (_, name)| consoles::let_go(name.device(), until_ns) & free);
                if !is_free {
                    return;
                }
                for (address, name) in disks {
                    if let Some(function) = Function::probe(config, *address) {
                        // Whatever it may still be at: it starts no transfer any more.
                        function.disable(Command::BUS_MASTER);
                    }
                    info!("slot {}: {} is let go", self.port, name.device());
                }
                switch.power_off();
                self.leaving_until_ns = None;
            }
        }
    }
}
