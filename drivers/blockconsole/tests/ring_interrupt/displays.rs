//! Formatting that panics, logs, fails, or does not end.

use crate::level::Level;
use crate::ring::{self, Next, Patience, RecordBuffer, RecordHeader, Ring};
use crate::ring_support::Proof;
use crate::{new_ring, read, write};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Something whose formatting misbehaves.
struct Treacherous(Box<dyn Fn(&mut fmt::Formatter<'_>) -> fmt::Result>);

impl fmt::Display for Treacherous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

fn write_display(ring: &Ring<'_>, display: &Treacherous) -> u64 {
    ring.write(RecordHeader { time_ns: 0, cpu: 0, level: Level::Info }, "t", format_args!("before {display} after"))
}

#[test]
fn a_display_that_panics_leaves_no_trace() {
    let ring = new_ring(1_000);
    write(&ring, 0);
    let bomb = Treacherous(Box::new(|_| resume_unwind(Box::new("in Display"))));
    assert!(catch_unwind(AssertUnwindSafe(|| write_display(&ring, &bomb))).is_err());
    write(&ring, 1);
    let got = read(&ring, Patience::Wait);
    assert_eq!((got.indices(), got.seen()), (vec![0, 1], 2));
}

#[test]
fn a_display_that_logs_gets_its_record_in_first() {
    let ring = new_ring(1_000);
    let chatty = Treacherous(Box::new(move |f| {
        write(&ring, 7);
        f.write_str("x")
    }));
    assert_eq!(write_display(&ring, &chatty), 1);
    let mut cursor = ring.cursor_oldest();
    let mut scratch = RecordBuffer::new();
    let mut texts = Vec::new();
    while let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Wait) {
        texts.push(record.text.to_owned());
    }
    assert_eq!(texts, [Proof { seed: 5, writer: 0, index: 7, len: 15 }.text(), "before x after".to_owned()]);
}

#[test]
fn a_display_that_fails_keeps_what_it_said_and_is_marked() {
    let ring = new_ring(1_000);
    write_display(&ring, &Treacherous(Box::new(|_| Err(fmt::Error))));
    let mut scratch = RecordBuffer::new();
    let mut cursor = ring.cursor_oldest();
    let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Wait) else { panic!() };
    assert_eq!((record.text, record.truncated), ("before ", true));
}

/// A display that would go on for ever is stopped by the first refusal.
#[test]
fn endless_text_ends() {
    let ring = new_ring(4_000);
    let endless = Treacherous(Box::new(|f| {
        loop {
            f.write_str("and so on ")?;
        }
    }));
    write_display(&ring, &endless);
    let mut scratch = RecordBuffer::new();
    let mut cursor = ring.cursor_oldest();
    let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Wait) else { panic!() };
    assert_eq!((record.text.len(), record.truncated), (ring::MAX_TEXT, true));
}
