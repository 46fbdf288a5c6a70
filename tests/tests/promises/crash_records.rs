//! Whatever crashes: its record is whole on every disk, behind the last line.

use qemu::Kind;
use tests::oracle::{crash_record, line};
use tests::{Scene, random_word};

/// Crashes a guest that has just logged a random word, and looks for both on each disk.
fn leaves_its_record(kind: &str, reason: &str) {
    let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    let word = random_word();
    let report = scene.run_crash(&format!("mark={word} crash={kind}"));

    let mut records = Vec::new();
    for disk in 0..2 {
        let lines = scene.lines(disk);
        let record = crash_record(&lines).unwrap().unwrap_or_else(|| panic!("no record on disk {disk}: {report}"));
        assert!(record[1].starts_with("reason: ") && record[1].contains(reason), "{:?}", record[1]);

        let marks: Vec<usize> = (0..lines.len()).filter(|index| is_mark(&lines[*index], &word)).collect();
        let begin = lines.iter().position(|line| *line == record[0]).unwrap();
        assert_eq!(marks.len(), 1, "{lines:#?}");
        assert!(marks[0] < begin);
        assert_eq!(lines.len(), begin + record.len(), "something stands behind the record");
        records.push(record.to_vec());
    }
    // What is said about each console differs, the rest does not.
    let ids: Vec<&String> = records.iter().map(|record| &record[0]).collect();
    assert_eq!(ids[0], ids[1]);
    assert!(report.serial_text().contains(records[0].last().unwrap()), "{report}");
}

/// Whether a line is the word alone, as it is logged before the crash, and not the command line that has it as well.
fn is_mark(text: &str, word: &str) -> bool {
    line(text).is_some_and(|line| line.message.contains(word) && !line.message.contains("crash="))
}

macro_rules! crashes {
    ($($name:ident: $kind:literal, $reason:literal;)*) => {
        $(#[test]
        fn $name() {
            leaves_its_record($kind, $reason);
        })*
    };
}

crashes! {
    panic: "panic", "panic";
    unwrap: "unwrap", "None";
    null_write: "null-write", "page fault";
    page_fault: "page-fault", "page fault";
    invalid_opcode: "invalid-opcode", "invalid opcode";
    general_protection: "gp-fault", "general protection";
    stack_overflow: "stack-overflow", "stack overflow";
    double_fault: "double-fault", "double fault";
}
