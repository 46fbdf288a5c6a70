//! All consoles of the machine.

/// Called by the tick.
pub fn pump_from_tick() {}
