//! The mount search: which tile is the newest, and which comes next.
//!
//! A log is found without an index. Tile 0 is the *reference*: tiles `0..k` carry its uuid and round, tiles `k..` do
//! not, because headers become durable one after the other. So the first that differs is found by halving, with
//! `1 + ceil(log2(tiles))` reads. [`Search`] does no I/O: it says which tile's first block it wants to see, and is given
//! the answer; so the console in the kernel, which never waits, and the reader on the host, which does, run the same code.
//!
//! ```text
//!   Reference ──► Halving ──────────► Doubting ──► Done
//!       │            │ a header that      │ a header that
//!       │            │ cannot be there    │ cannot be there
//!       │            ▼                    │
//!       └───────► Scanning ◄──────────────┘ ─────► Done
//! ```
//!
//! # Damage
//! A header that is damaged or cannot be read would send the halving to the wrong side, and newer tiles would be
//! overwritten. So the search also knows what *may* be there instead of the reference's header: an older round of the same
//! uuid, always; anything at all, only while the round is 0, because then tiles were never written. Anything
//! else, and any block that cannot be read, is damage: then all tiles are looked at, from the last one down
//! to the first that carries the reference's round (or all of them, where the round after the reference's turned up).
//! While the round is 0, a damaged header looks like a tile that was never written; and in every round, a tile whose new header could not be
//! written, and that was passed over, keeps its old one. Therefore the tiles
//! 1, 2, 4, 8… after the end that was found are looked at too, as many as keep a search within
//! [`QUICK_READS`], the first of them always: any of them with the reference's header gives the damage away. No two tiles in a row
//! are ever passed over, so that no newer tile escapes that.
//!
//! Where all tiles carry the reference's header, tile 1 is looked at once more: a round newer than tile 0's
//! means that tile 0's last header never reached the medium, though the device had said so.
//!
//! Where tile 0 itself carries no header, nothing identifies the device, and by default nothing is written to it. Who says
//! which uuid must be there ([`Search::new`]'s `expected`) makes the search look through all tiles for it.
//!
//! # Bound
//! `1 + ceil(log2(tiles)) + doubts` reads where nothing is damaged, which is at most [`QUICK_READS`] up to 2^20 tiles
//! (1 TiB), and `tiles` more where something is.

use crate::format::{Age, Header};

/// Reads within which an undamaged console of up to 2^20 tiles is searched.
pub const QUICK_READS: u32 = 22;

/// What a search wants, or has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To see this tile's first block: answer with [`Search::answer`].
    Read(u32),
    /// It has found the end of the log.
    Done(Found),
    /// This is no console, or not the one that is expected.
    Refused(Refusal),
}

/// Where the log ends, and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The console's uuid.
    pub uuid: u32,
    /// The tile that was entered last. On a console that was never logged to: tile 0.
    pub newest: u32,
    /// The round of that tile.
    pub newest_round: u32,
    /// The tile to enter next.
    pub next: u32,
    /// The round to enter it with.
    pub next_round: u32,
    /// Whether a header was damaged or could not be read, so that all tiles had to be looked at.
    pub damaged: bool,
}

/// Why nothing may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Tile 0 does not begin with a header.
    NoHeader,
    /// Tile 0's first block cannot be read.
    Unreadable,
    /// Its uuid is this one, not the one that is expected.
    OtherUuid(u32),
}

/// What a tile's first block turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It begins with this header.
    Header(Header),
    /// It begins with something else.
    NoHeader,
    /// It cannot be read.
    Unreadable,
}

impl Answer {
    /// The answer that a block's contents give.
    pub fn of(block: &[u8]) -> Self {
        Header::decode(block).map_or(Self::NoHeader, Self::Header)
    }
}

/// A search under way. See the [module](self).
#[derive(Clone, Debug)]
pub struct Search {
    tiles: u64,
    expected: Option<u32>,
    reference: Header,
    /// Whether tile 0 had one.
    has_reference: bool,
    state: State,
    reads: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Tile 0 comes first.
    Reference,
    /// Tile `low` carries the reference's header; tile `high` does not, or is beyond the end.
    Halving {
        low: u64,
        high: u64,
    },
    /// Tile `end` seems to be the first that is not of this round. `distance` beyond it lies the next one to look at.
    Doubting {
        end: u64,
        distance: u64,
    },
    /// All tiles seem to be of the reference's round, so that the log goes on in tile 0, unless tile 1 is newer.
    Wrapping,
    /// All tiles from the last one down to `at + 1` have been looked at.
    Scanning {
        at: u64,
        best: Option<(u32, Header)>,
        to_the_end: bool,
    },
    Done(Found),
    Refused(Refusal),
}

impl Search {
    /// Begins a search in a place of so many tiles: at least 1, at most 2^32.
    ///
    /// With `expected`, only a console with this uuid is taken; it is also found where tile 0 is lost.
    pub const fn new(tiles: u64, expected: Option<u32>) -> Self {
        let reference = Header { uuid: 0, round: 0, tile: 0 };
        let state = if tiles == 0 { State::Refused(Refusal::NoHeader) } else { State::Reference };
        Self { tiles, expected, reference, has_reference: false, state, reads: 0 }
    }

    /// What to do next. The same until an answer was given.
    pub const fn step(&self) -> Step {
        let tile = match self.state {
            State::Reference => 0,
            State::Halving { low, high } => low + (high - low) / 2,
            State::Doubting { end, distance } => end + distance,
            State::Wrapping => 1,
            State::Scanning { at, .. } => at,
            State::Done(found) => return Step::Done(found),
            State::Refused(refusal) => return Step::Refused(refusal),
        };
        Step::Read(tile as u32)
    }

    /// How many reads it took up to now.
    pub const fn reads(&self) -> u64 {
        self.reads
    }

    /// Takes the answer to the [`Step::Read`] that [`step`](Self::step) asked for.
    pub fn answer(&mut self, answer: Answer) {
        self.reads = self.reads.saturating_add(1);
        self.state = match self.state {
            State::Reference => self.take_reference(answer),
            State::Halving { low, high } => self.halve(low, high, answer),
            State::Doubting { end, distance } => self.doubt(end, distance, answer),
            State::Wrapping => match self.judge(answer) {
                Verdict::Current => self.found(self.tiles - 1, self.reference.round, false),
                Verdict::Damage { newer } => self.scan_all(newer),
                Verdict::Past | Verdict::Unmarked => self.scan_all(false),
            },
            State::Scanning { at, best, to_the_end } => self.scan(at, best, to_the_end, answer),
            done @ (State::Done(_) | State::Refused(_)) => done,
        };
    }

    fn take_reference(&mut self, answer: Answer) -> State {
        let refusal = match (answer, self.expected) {
            (Answer::Header(header), Some(expected)) if header.uuid != expected => Refusal::OtherUuid(header.uuid),
            (Answer::Header(header), _) => {
                (self.reference, self.has_reference) = (header, true);
                return self.narrow(0, self.tiles);
            }
            (Answer::NoHeader, _) => Refusal::NoHeader,
            (Answer::Unreadable, _) => Refusal::Unreadable,
        };
        match (refusal, self.expected) {
            (Refusal::NoHeader | Refusal::Unreadable, Some(_)) if self.tiles > 1 => {
                State::Scanning { at: self.tiles - 1, best: None, to_the_end: true }
            }
            _ => State::Refused(refusal),
        }
    }

    fn halve(&self, low: u64, high: u64, answer: Answer) -> State {
        let middle = low + (high - low) / 2;
        match self.judge(answer) {
            Verdict::Current => self.narrow(middle, high),
            Verdict::Past | Verdict::Unmarked => self.narrow(low, middle),
            Verdict::Damage { newer } => self.scan_all(newer),
        }
    }

    fn narrow(&self, low: u64, high: u64) -> State {
        if high - low > 1 {
            State::Halving { low, high }
        } else if high < self.tiles {
            self.doubt_on(high, 1)
        } else if low > 1 {
            State::Wrapping
        } else {
            self.found(low, self.reference.round, false)
        }
    }

    fn doubt(&self, end: u64, distance: u64, answer: Answer) -> State {
        match self.judge(answer) {
            Verdict::Current => self.scan_all(false),
            Verdict::Damage { newer } => self.scan_all(newer),
            Verdict::Past | Verdict::Unmarked => self.doubt_on(end, distance.saturating_mul(2)),
        }
    }

    fn doubt_on(&self, end: u64, distance: u64) -> State {
        let afford = self.reads < u64::from(QUICK_READS) || distance == 1;
        if afford && distance < self.tiles - end {
            State::Doubting { end, distance }
        } else {
            self.found(end - 1, self.reference.round, false)
        }
    }

    fn scan_all(&self, to_the_end: bool) -> State {
        State::Scanning { at: self.tiles - 1, best: Some((0, self.reference)), to_the_end }
    }

    fn scan(&self, at: u64, best: Option<(u32, Header)>, to_the_end: bool, answer: Answer) -> State {
        let uuid = self.expected.unwrap_or(self.reference.uuid);
        let (mut best, mut to_the_end) = (best, to_the_end);
        if let Answer::Header(header) = answer
            && header.uuid == uuid
        {
            let age = best.map(|(_, best)| header.age(&best));
            // From the last tile down: of those with the same round, the first to be seen is the newest. Only tile 0,
            // with which a scan begins, is not in order.
            let after_tile_0 = age == Some(Age::Same) && matches!(best, Some((0, _)));
            let is_newer = age == Some(Age::Newer) && self.may_be(header.round);
            if age.is_none() || is_newer || after_tile_0 {
                best = Some((at as u32, header));
            }
            if is_newer {
                to_the_end = true;
            } else if age == Some(Age::Same) && !to_the_end {
                return self.found(at, header.round, true);
            }
        }
        match (at, best) {
            (2.., _) => State::Scanning { at: at - 1, best, to_the_end },
            (_, Some((tile, header))) => {
                let mut state = self.found(u64::from(tile), header.round, true);
                if let State::Done(found) = &mut state {
                    found.uuid = uuid;
                }
                state
            }
            (_, None) => State::Refused(Refusal::NoHeader),
        }
    }

    fn found(&self, newest: u64, newest_round: u32, damaged: bool) -> State {
        let (next, next_round) = after(newest as u32, newest_round, self.tiles);
        let uuid = self.reference.uuid;
        State::Done(Found { uuid, newest: newest as u32, newest_round, next, next_round, damaged })
    }

    /// Whether a newer round can be one that was reached: with a header of tile 0 there, that has missed the last wrap at most.
    /// Others are damaged digits, and must not lead the log astray.
    const fn may_be(&self, round: u32) -> bool {
        !self.has_reference || round.wrapping_sub(self.reference.round) <= 1
    }

    fn judge(&self, answer: Answer) -> Verdict {
        match answer {
            Answer::Header(header) => match header.age(&self.reference) {
                Age::Same => Verdict::Current,
                Age::Older => Verdict::Past,
                Age::Newer => Verdict::Damage { newer: self.may_be(header.round) },
                Age::Foreign if self.reference.round == 0 => Verdict::Unmarked,
                Age::Foreign => Verdict::Damage { newer: false },
            },
            Answer::NoHeader if self.reference.round == 0 => Verdict::Unmarked,
            Answer::NoHeader | Answer::Unreadable => Verdict::Damage { newer: false },
        }
    }
}

/// What a tile's header says about the end of the log.
enum Verdict {
    /// The end lies after it.
    Current,
    /// The end lies before it, unless it was passed over.
    Past,
    /// The end lies before it, unless its header is damaged.
    Unmarked,
    /// It cannot be so.
    Damage { newer: bool },
}

/// The tile and round that follow a tile and its round.
pub const fn after(tile: u32, round: u32, tiles: u64) -> (u32, u32) {
    let next = tile as u64 + 1;
    if next < tiles { (next as u32, round) } else { (0, round.wrapping_add(1)) }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const UUID: u32 = 0xb10c;

    fn header(round: u32) -> Answer {
        Answer::Header(Header { uuid: UUID, round, tile: 0 })
    }

    /// Runs a search over what each tile's first block is.
    fn run(tiles: &[Answer], expected: Option<u32>) -> (Step, u64) {
        let mut search = Search::new(tiles.len() as u64, expected);
        loop {
            match search.step() {
                Step::Read(tile) => search.answer(tiles[tile as usize]),
                done => {
                    assert!(search.reads() <= 22 + tiles.len() as u64);
                    return (done, search.reads());
                }
            }
        }
    }

    fn next(tiles: &[Answer]) -> (u32, u32) {
        match run(tiles, None).0 {
            Step::Done(found) => (found.next, found.next_round),
            other => panic!("{other:?}"),
        }
    }

    /// `current` tiles of this round, then the round before it, or nothing in round 0.
    fn log(tiles: usize, current: usize, round: u32) -> Vec<Answer> {
        let rest = if round == 0 { Answer::NoHeader } else { header(round - 1) };
        let mut log = vec![header(round); current];
        log.resize(tiles, rest);
        log
    }

    #[test]
    fn every_end_of_every_small_log_is_found() {
        for tiles in 1..70 {
            for current in 1..=tiles {
                for round in [0, 1, 7, u32::MAX] {
                    let expected = if current == tiles { (0, round.wrapping_add(1)) } else { (current as u32, round) };
                    assert_eq!(next(&log(tiles, current, round)), expected, "{current} of {tiles}, round {round}");
                }
            }
        }
    }

    #[test]
    fn one_damaged_header_never_gives_newer_tiles_away() {
        for tiles in 2..40 {
            for current in 1..=tiles {
                for damaged in 1..tiles {
                    for round in [0, 3] {
                        for damage in
                            [Answer::NoHeader, Answer::Unreadable, Answer::Header(Header { uuid: 1, round, tile: 0 })]
                        {
                            let mut log = log(tiles, current, round);
                            log[damaged] = damage;
                            let (tile, next_round) = next(&log);
                            let lost_the_last = damaged + 1 == current;
                            let end = if lost_the_last { current - 1 } else { current };
                            let expected = if end == tiles { (0, round + 1) } else { (end as u32, round) };
                            assert_eq!((tile, next_round), expected, "{current} of {tiles}, {damage:?} at {damaged}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn many_damaged_headers_in_a_later_round_give_no_newer_tile_away() {
        for first in 1..56 {
            for last in first..58 {
                for damage in [Answer::NoHeader, Answer::Unreadable] {
                    let mut log = log(64, 60, 3);
                    log[first..=last].fill(damage);
                    assert_eq!(next(&log), (60, 3), "{damage:?} from {first} to {last}");
                }
            }
        }
    }

    #[test]
    fn a_tile_that_was_passed_over_gives_no_newer_one_away() {
        for tiles in 2..70 {
            for current in 2..=tiles {
                for round in [0, 1, 7] {
                    for over in 1..current - 1 {
                        for also in [0, 2, 3, 5] {
                            // Sometimes there is another one.
                            let mut log = log(tiles, current, round);
                            let old = if round == 0 { Answer::NoHeader } else { header(round - 1) };
                            log[over] = old;
                            if also >= 2 && over + also < current - 1 {
                                log[over + also] = old;
                            }
                            let end = if current == tiles { (0, round + 1) } else { (current as u32, round) };
                            assert_eq!(next(&log), end, "{current} of {tiles}, round {round}, {over} and {also}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_tebibyte_takes_at_most_22_reads() {
        let tiles = 1u64 << 20;
        for round in [0, 5] {
            for current in [1, 2, 3, 1000, tiles / 2, tiles / 2 + 1, tiles - 2, tiles - 1, tiles] {
                let mut search = Search::new(tiles, None);
                let found = loop {
                    match search.step() {
                        Step::Read(tile) if u64::from(tile) < current => search.answer(header(round)),
                        Step::Read(_) if round == 0 => search.answer(Answer::NoHeader),
                        Step::Read(_) => search.answer(header(round - 1)),
                        Step::Done(found) => break found,
                        Step::Refused(_) => panic!(),
                    }
                };
                assert!(search.reads() <= u64::from(QUICK_READS));
                assert_eq!(u64::from(found.next), current % tiles);
            }
        }
    }

    #[test]
    fn the_largest_console_does_not_overflow() {
        for current in [1u64, 12345, (1 << 32) - 1, 1 << 32] {
            let mut search = Search::new(1 << 32, None);
            let found = loop {
                match search.step() {
                    Step::Read(tile) => search.answer(header(if u64::from(tile) < current { 9 } else { 8 })),
                    Step::Done(found) => break found,
                    Step::Refused(_) => panic!(),
                }
            };
            assert_eq!(
                (u64::from(found.next), search.reads()),
                (current & 0xffff_ffff, 34 - u64::from(current == (1 << 32) - 1))
            );
        }
    }

    #[test]
    fn a_lost_tile_0_is_refused_unless_its_uuid_is_expected() {
        for (lost, refusal) in [(Answer::NoHeader, Refusal::NoHeader), (Answer::Unreadable, Refusal::Unreadable)] {
            let mut log = log(9, 5, 2);
            log[0] = lost;
            assert_eq!(run(&log, None).0, Step::Refused(refusal));
            let Step::Done(found) = run(&log, Some(UUID)).0 else { panic!() };
            assert_eq!((found.uuid, found.newest, found.next, found.next_round), (UUID, 4, 5, 2));
            assert_eq!(run(&log, Some(UUID + 1)).0, Step::Refused(Refusal::NoHeader));
        }
        assert_eq!(run(&log(9, 5, 2), Some(1)).0, Step::Refused(Refusal::OtherUuid(UUID)));
        assert_eq!(run(&[Answer::NoHeader], Some(1)).0, Step::Refused(Refusal::NoHeader));
    }

    #[test]
    fn a_round_newer_than_tile_0_is_followed() {
        // Tile 0's new header never became durable, though the device said so.
        let mut log = log(16, 7, 4);
        log[0] = header(3);
        assert_eq!(next(&log), (7, 4));
    }

    #[test]
    fn a_round_that_nobody_reached_leads_nowhere() {
        for tiles in 2..40 {
            for current in 1..=tiles {
                for damaged in 1..tiles {
                    for round in [6, 7, 0x0770_0004, 0x7fff_ffff] {
                        let mut log = log(tiles, current, 4);
                        log[damaged] = header(round);
                        // Only a tile of the newest round that was the last one makes a difference: it is not to be seen any more.
                        let newest = if damaged + 1 == current { current - 1 } else { current };
                        let end = if newest == tiles { (0, 5) } else { (newest as u32, 4) };
                        assert_eq!(next(&log), end, "{current} of {tiles}, {damaged} has {round}");
                    }
                }
            }
        }
    }

    #[test]
    fn rounds_may_jump() {
        // A wrap before the end of the place leaves three rounds on the disk.
        let mut log = vec![header(5); 3];
        log.extend([header(4); 2]);
        log.extend([header(3); 6]);
        assert_eq!(next(&log), (3, 5));
    }
}
