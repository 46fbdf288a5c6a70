//! What makes a crash on purpose worse: `crash.with=` on the command line.

use crate::arch::{cpu, flags};
use crate::{consoles, memory, serial_log};

macro_rules! conditions {
    ($($(#[doc = $doc:literal])+ $condition:ident = $name:literal,)+) => {
        /// Something that is wrong at a crash, beside the crash.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Condition {
            $($(#[doc = $doc])+ $condition,)+
        }

        impl Condition {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$condition,)+];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$condition => $name,)+
                }
            }
        }
    };
}

conditions! {
    /// Every lock of the kernel is held, for ever.
    Locks = "locks",
    /// Interrupts are off.
    InterruptsOff = "interrupts-off",
    /// Floating-point exceptions are unmasked, and SSE and x87 are in a state that nobody expects.
    DirtySse = "sse",
    /// The direction flag is set.
    Direction = "direction",
    /// The alignment check and nested task flags are set.
    Flags = "flags",
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions(u32);

impl Conditions {
    /// Reads names with commas in between; `None` if one of them is not known.
    pub fn parse(names: &str) -> Option<Self> {
        names.split(',').try_fold(Self::default(), |set, name| {
            let condition = Condition::ALL.iter().find(|condition| condition.name() == name)?;
            Some(Self(set.0 | 1 << *condition as u32))
        })
    }

    fn has(self, condition: Condition) -> bool {
        self.0 & 1 << condition as u32 != 0
    }

    /// Brings them about. Flags come last: what runs after this should be little.
    pub(super) fn bring_about(self) {
        if self.has(Condition::InterruptsOff) {
            cpu::disable_interrupts();
        }
        if self.has(Condition::Locks) {
            // Nobody may be interrupted who holds one: the tick would find it free otherwise.
            cpu::disable_interrupts();
            consoles::hold_lock();
            serial_log::hold_lock();
            memory::hold_locks();
        }
        if self.has(Condition::DirtySse) {
            flags::dirty_sse();
        }
        let direction = if self.has(Condition::Direction) { flags::DIRECTION } else { 0 };
        let others = if self.has(Condition::Flags) { flags::ALIGNMENT_CHECK | flags::NESTED_TASK } else { 0 };
        if direction | others != 0 {
            flags::set(direction | others);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_a_set() {
        let set = Conditions::parse("sse,direction").unwrap();
        assert!(set.has(Condition::DirtySse) && set.has(Condition::Direction));
        assert!(!set.has(Condition::Locks) && !set.has(Condition::Flags));
        assert_eq!(Conditions::parse("sse,x"), None);
        assert_eq!(Conditions::parse(""), None);
    }
}
