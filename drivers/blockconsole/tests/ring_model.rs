//! The ring, used by one thread, does what a queue of limited length does.

use blockconsole::Level;
use blockconsole::ring::{Next, Patience, RecordBuffer, RecordHeader, Ring, RingIdentity};
use std::sync::atomic::AtomicU64;

fn memory(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

const IDENTITY: RingIdentity = RingIdentity { boot_id: 1, build_id: [2; 20], boot_seconds: 3 };

fn header(time_ns: u64) -> RecordHeader {
    RecordHeader { time_ns, cpu: 3, level: Level::Info }
}

#[test]
fn what_is_written_is_read_in_order_and_adopted() {
    let words = memory(1 << 17);
    let ring = Ring::create(&words, IDENTITY).unwrap();
    let mut cursor = ring.cursor_oldest();
    let mut scratch = RecordBuffer::new();
    assert_eq!(ring.next(&mut cursor, &mut scratch, Patience::Wait), Next::Empty);
    for i in 0..20_000_u64 {
        assert_eq!(ring.write(header(i), "target", format_args!("line {i} of {}", "x".repeat(i as usize % 200))), i);
        let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Wait) else { panic!("record {i}") };
        assert_eq!((record.sequence, record.time_ns, record.cpu, record.level), (i, i, 3, Level::Info));
        assert_eq!((record.target, record.truncated), ("target", false));
        assert_eq!(record.text, format!("line {i} of {}", "x".repeat(i as usize % 200)));
        assert_eq!(ring.next(&mut cursor, &mut scratch, Patience::Crash), Next::Empty);
    }
    ring.note_durable(19_990);
    let adopted = Ring::adopt(&words).unwrap();
    assert_eq!(adopted.identity(), IDENTITY);
    assert_eq!(
        (adopted.written(), adopted.tally(adopted.cursor_oldest()).lost, adopted.durable()),
        (20_000, 0, 19_990)
    );
    let mut cursor = adopted.cursor_oldest();
    for i in adopted.cursor_oldest().sequence()..20_000 {
        let Next::Record(record) = adopted.next(&mut cursor, &mut scratch) else { panic!("record {i}") };
        assert_eq!(record.sequence, i);
    }
    assert_eq!(adopted.next(&mut cursor, &mut scratch), Next::Empty);
    let mut cursor = ring.cursor_at(0);
    assert_eq!(ring.next(&mut cursor, &mut scratch, Patience::Wait), Next::Lost(adopted.cursor_oldest().sequence()));
}
