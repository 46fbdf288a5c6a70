//! Targets survive their cell, and damage to it shows.

extern crate std;
use super::*;
use crate::console::point::LineKind;
use crate::place::Extent;
use crate::series::KeptRecord;

fn target(durable: u64) -> Target {
    let extents = [Extent { first_block: 10, blocks: 4096 }, Extent { first_block: 1 << 40, blocks: 1 << 31 }];
    let mut kept = Kept::NONE;
    kept.push(KeptRecord { first: 7, last: 8 }, 64);
    kept.push(KeptRecord { first: 9, last: 9 }, 64);
    let point = Point {
        line: LineKind::Lost,
        skip: 11,
        value: 12,
        time_ns: 13,
        sequence: 14,
        complete: 15,
        due: Due { feed: true, boot: false, tile: true, trailer: false },
    };
    Target {
        name: Name::new("nvme0n1p2"),
        index: 16,
        place: Place::new(512, &extents).expect("a place"),
        expected: Some(17),
        in_flight: false,
        is_idle: false,
        state: TargetState {
            identity: Some(Identity { uuid: 18, boot: 19 }),
            is_mounting: false,
            current: Some(Current {
                tile: 20,
                round: 21,
                base: 512 * 22,
                high: 512 * 23,
                has_header: true,
                is_durable: true,
            }),
            next_tile: 24,
            next_round: 25,
            is_next_ready: true,
            has_passed_over: true,
            kept,
            point,
            after: Some(Point { line: LineKind::Between, due: Due { trailer: true, ..Due::default() }, ..point }),
            durable: Covers { records: durable, time_ns: 26, is_boot_due: false, is_tile_due: true },
        },
    }
}

fn store(cell: &TargetCell, target: &Target) {
    cell.store(target, &FixedWords::new(&target.name, &target.place));
}

#[test]
fn what_is_stored_is_loaded() {
    let cell = TargetCell::new();
    assert_eq!(cell.load(), Err(BadTarget::Empty));
    for durable in 0..5 {
        store(&cell, &target(durable));
        assert_eq!(cell.load(), Ok(target(durable)));
    }
    let mut other = target(1);
    other.state.identity = None;
    other.state.is_mounting = true;
    other.state.current = None;
    other.state.after = None;
    other.expected = None;
    other.in_flight = true;
    other.is_idle = true;
    store(&cell, &other);
    assert_eq!(cell.load(), Ok(other));
}

#[test]
fn a_flipped_bit_anywhere_never_makes_another_target() {
    let cell = TargetCell::new();
    store(&cell, &target(1));
    store(&cell, &target(2));
    let latest = (cell.latest.load(Ordering::Relaxed) & 1) as usize;
    for word in &cell.slots[latest] {
        for bit in 0..64 {
            word.fetch_xor(1 << bit, Ordering::Relaxed);
            // The one before is good, but nobody knows what has been submitted since.
            assert_eq!(cell.load(), Ok(Target { in_flight: true, ..target(1) }));
            word.fetch_xor(1 << bit, Ordering::Relaxed);
        }
    }
    cell.slots[latest ^ 1][3].fetch_add(1, Ordering::Relaxed);
    assert_eq!(cell.load(), Ok(target(2)));
    cell.slots[latest][40].fetch_add(1, Ordering::Relaxed);
    assert_eq!(cell.load(), Err(BadTarget::Checksum));
}

#[test]
fn a_cell_that_is_read_in_the_middle_of_a_store_gives_a_whole_target() {
    let cell = TargetCell::new();
    store(&cell, &target(1));
    store(&cell, &target(2));
    // As far as any store may have come when it is interrupted.
    let words = target(3).encode(&FixedWords::new(&target(3).name, &target(3).place));
    let older = (cell.latest.load(Ordering::Relaxed) & 1 ^ 1) as usize;
    for (place, word) in cell.slots[older].iter().zip(words) {
        assert_eq!(cell.load(), Ok(target(2)));
        place.store(word, Ordering::Relaxed);
    }
    assert_eq!(cell.load(), Ok(target(2)));
}

#[test]
fn nonsense_with_a_right_checksum_is_refused() {
    let cell = TargetCell::new();
    let changes: [fn(&mut Target); 5] = [
        |target| target.state.next_tile = 5000,
        |target| {
            target.state.current =
                Some(Current { tile: 5000, round: 0, base: 0, high: 0, has_header: false, is_durable: false })
        },
        |target| {
            target.state.current =
                Some(Current { tile: 1, round: 0, base: 7, high: 512, has_header: false, is_durable: false })
        },
        |target| {
            target.state.current =
                Some(Current { tile: 1, round: 0, base: 0, high: 2 << 20, has_header: false, is_durable: false })
        },
        |target| target.state.identity = None,
    ];
    for change in changes {
        let mut target = target(1);
        target.place = Place::new(512, &[Extent { first_block: 0, blocks: 64 * 2048 }]).expect("a place");
        change(&mut target);
        store(&cell, &target);
        assert_eq!(cell.load(), Err(BadTarget::Nonsense));
    }
}
