//! Places to crash at: numbers of instructions in three stretches of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

use crate::random::Random;

/// Where a campaign's places are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stretch {
    Start,
    Run,
    Crash,
}

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    stretch: Stretch,
    instruction: u64,
}

impl Stretch {
    pub(super) const ALL: [Self; 3] = [Self::Start, Self::Run, Self::Crash];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Run => "run",
            Self::Crash => "crash",
        }
    }

    /// How far numbers go. A guest on two disks gets further in each: it is as far as there is something new.
    const fn instructions(self) -> u64 {
        match self {
            Self::Start => 1_200_000,
            Self::Run => 250_000,
            Self::Crash => 120_000,
        }
    }
}

/// How [`draw`] draws.
pub(super) fn describe_drawing(seed: u64) -> String {
    let stretches = Stretch::ALL.map(|stretch| format!("{0}:1 to {0}:{1}", stretch.name(), stretch.instructions()));
    format!("places were drawn with seed {seed}, in turn and uniformly from {}\n", stretches.join(", "))
}

impl Place {
    pub(super) const fn stretch(self) -> Stretch {
        self.stretch
    }

    pub(super) const fn is_in_crash(self) -> bool {
        matches!(self.stretch, Stretch::Crash)
    }

    /// The command line of a guest that crashes there.
    pub(super) fn command_line(self, word: &str) -> String {
        let Self { stretch, instruction } = self;
        let rest = match stretch {
            Stretch::Start => format!("app=idle crash=nmi crash.at=start.instruction:{instruction}"),
            Stretch::Run => format!("app=lines:9000000 crash=nmi crash.at=instruction:{instruction}"),
            // A flood has writes in flight, so that half of the disks are reset.
            Stretch::Crash => format!("app=lines:9000000 crash=panic:5 crash.again=instruction:{instruction}"),
        };
        // Nothing is a hang that is executed one instruction at a time.
        format!("mark={word} hang_ms=0 watchdog=off pad_ms=10 {rest}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.stretch.name(), self.instruction)
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, number) = text.split_once(':').with_context(|| format!("place {text:?} has no number"))?;
        let stretch = Stretch::ALL.into_iter().find(|stretch| stretch.name() == name);
        match (stretch, number.parse()) {
            (Some(stretch), Ok(instruction @ 1..)) => Ok(Self { stretch, instruction }),
            _ => bail!("place {text:?} is none: start:N, run:N and crash:N are, with N from 1 on"),
        }
    }
}

/// So many different places, in turn from each stretch.
pub(super) fn draw(seed: u64, count: usize) -> Vec<Place> {
    let mut random = Random::new(seed);
    let mut place = |stretch: Stretch| Place { stretch, instruction: 1 + random.below(stretch.instructions()) };
    Stretch::ALL.into_iter().cycle().take(count).map(&mut place).collect()
}

/// The places that are left when these are done. One that was drawn twice is to be done twice.
pub(super) fn without(places: Vec<Place>, done: impl Iterator<Item = Place>) -> Vec<Place> {
    let mut counts: BTreeMap<Place, usize> = BTreeMap::new();
    done.for_each(|place| *counts.entry(place).or_default() += 1);
    let mut is_left = |place: &Place| match counts.get_mut(place) {
        Some(count @ 1..) => {
            *count -= 1;
            false
        }
        _ => true,
    };
    places.into_iter().filter(|place| is_left(place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_left_out_as_often_as_it_was_done() {
        let [a, b, c] = ["run:1", "run:2", "crash:1"].map(|text| text.parse::<Place>().unwrap());
        assert_eq!(without(vec![a, b, a, c], [a, c].into_iter()), [b, a]);
        assert_eq!(without(vec![a, b, a], [a, a, a].into_iter()), [b]);
        let all = draw(1, 300);
        assert_eq!(without(all.clone(), all[..100].iter().copied()), all[100..]);
    }

    #[test]
    fn how_places_are_drawn_is_said() {
        let text = describe_drawing(3);
        assert!(text.contains("seed 3, ") && text.contains("crash:1 to crash:120000"), "{text}");
    }

    #[test]
    fn a_place_is_its_name() {
        for place in draw(7, 30) {
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }
        for text in ["", "run", "run:", "run:0", "run:x", "jump:1"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_places_again_and_another_one_others() {
        assert_eq!(draw(1, 100), draw(1, 100));
        assert_ne!(draw(1, 100), draw(2, 100));
        let (mut places, many) = (draw(1, 3000), 2900);
        places.sort();
        places.dedup();
        assert!(places.len() > many);
    }
}
