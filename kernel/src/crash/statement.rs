//! What is to be written: the reason, the record, and to whom.

use super::record::{self, Circumstances, Text};
use super::rescue::{self, Rescue};
use super::stations::Station;
use super::{Scene, show_stack};
use crate::logger;
use blockconsole::crash::MAX_RECORD;
use core::cell::UnsafeCell;
use core::fmt::Write;
use core::mem::MaybeUninit;

/// Memory in which it is put together.
struct Memory {
    reason: Text<2048>,
    record: [u8; MAX_RECORD],
    states: [Text<160>; rescue::MAX],
    names: [Text<32>; rescue::MAX],
    rescue: MaybeUninit<Rescue>,
}

struct Set(UnsafeCell<Memory>);

// SAFETY: used by one at a time, as the contracts of the functions here say.
unsafe impl Sync for Set {}

static MEMORY: Set = Set(UnsafeCell::new(Memory {
    reason: Text::new(),
    record: [0; MAX_RECORD],
    states: [const { Text::new() }; rescue::MAX],
    names: [const { Text::new() }; rescue::MAX],
    rescue: MaybeUninit::uninit(),
}));

/// The reason in a sentence, with what had happened before.
///
/// # Safety
/// Nobody may use what this or [`make`] returned before any more.
pub(super) unsafe fn reason(scene: &Scene, earlier: &[&Scene]) -> &'static str {
    // SAFETY: the caller's promise.
    let out = unsafe { &mut (*MEMORY.0.get()).reason };
    tell_reason(scene, earlier, out);
    out.as_str()
}

/// Finds out which consoles there are on these disks, and makes the crash record. Returns its text.
///
/// # Safety
/// Nobody may use what this returned before any more.
pub(super) unsafe fn make(
    stations: impl Iterator<Item = &'static Station>,
    scene: &Scene,
    earlier: &[&Scene],
    reason: &str,
) -> (&'static str, &'static mut Rescue) {
    // SAFETY: the caller's promise; `reason` lies in another field, which is not touched here.
    let (record, states, names, rescue) = unsafe {
        let memory = MEMORY.0.get();
        (&mut (*memory).record, &mut (*memory).states, &mut (*memory).names, &mut (*memory).rescue)
    };
    let rescue = rescue.write(Rescue::new(stations, !earlier.is_empty()));
    let text = make_record(scene, earlier, reason, rescue, (states, names), record);
    (text, rescue)
}

fn tell_reason(scene: &Scene, earlier: &[&Scene], out: &mut Text<2048>) {
    out.clear();
    record::write_reason(scene, !earlier.is_empty(), out);
    for earlier in earlier.iter().rev() {
        // Its message, if it has one, may be what crashed: only what is plain data is said again.
        let _ = match record::place(earlier) {
            Some(place) => write!(
                out,
                "; this was in the crash path of a {} at {}:{}",
                record::kind(earlier),
                place.file,
                place.line
            ),
            None => {
                write!(out, "; this was in the crash path of a {} at {:#x}", record::kind(earlier), earlier.frame.rip)
            }
        };
    }
}

/// Makes the crash record, and returns its text.
fn make_record(
    scene: &Scene,
    earlier: &[&Scene],
    reason: &str,
    rescue: &Rescue,
    (states, names): (&mut [Text<160>; rescue::MAX], &mut [Text<32>; rescue::MAX]),
    record: &'static mut [u8; MAX_RECORD],
) -> &'static str {
    for ((case, state), name) in rescue.cases().zip(states.iter_mut()).zip(names.iter_mut()) {
        state.clear();
        name.clear();
        // Both are memory; what does not fit is cut off.
        let _ = write!(name, "{}", case.name());
        let _ = case.describe(state);
    }
    let mut devices = [("", ""); rescue::MAX];
    let mut count = 0;
    for ((device, state), name) in devices.iter_mut().zip(states.iter()).zip(names.iter()).take(rescue.cases().count())
    {
        *device = (name.as_str(), state.as_str());
        count += 1;
    }
    let circumstances = Circumstances {
        id: crash_id(scene),
        reason,
        boot: rescue.boot(),
        devices: devices.get(..count).unwrap_or_default(),
        short: !earlier.is_empty(),
        show_stack: show_stack(),
    };
    let len = record::make(scene, &circumstances, record);
    core::str::from_utf8(record.get(..len).unwrap_or_default()).unwrap_or_default()
}

/// Tells this crash from others: the boot's id, and the moment.
fn crash_id(scene: &Scene) -> u64 {
    logger::ring().map_or(0, |ring| ring.identity().boot_id) ^ scene.time_ns.rotate_left(20)
}
