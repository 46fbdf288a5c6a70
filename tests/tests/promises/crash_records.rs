//! Whatever crashes: its record is whole on every disk, behind the last line.

use qemu::{Kind, Outcome};
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
    panic: "panic", "panic: provoked";
    assertion: "assert", "assertion `left == right` failed";
    unwrap: "unwrap", "called `Option::unwrap()` on a `None` value";
    index: "index", "index out of bounds";
    overflow: "overflow", "attempt to add with overflow";
    null_read: "null-read", "read from 0x0";
    null_write: "null-write", "write to 0x0";
    null_call: "null-call", "instruction fetch from 0x0";
    page_fault: "page-fault", "read from 0xdeadbeef000";
    write_to_read_only_data: "write-rodata", "page fault: write to ";
    execution_of_data: "exec-data", "page fault: instruction fetch from ";
    general_protection: "gp-fault", "general protection fault";
    invalid_opcode: "invalid-opcode", "invalid opcode";
    division_by_zero: "div-zero", "divide error";
    breakpoint: "breakpoint", "breakpoint";
    unaligned_vector: "unaligned", "general protection fault";
    double_fault: "double-fault", "double fault";
    stack_overflow: "stack-overflow", "stack overflow";
    stack_smashed: "stack-smash", "fault";
    out_of_memory: "oom", "memory allocation of ";
    corrupt_heap: "heap-corrupt", "fault";
    deadlock: "deadlock", "non-maskable interrupt";
    hang: "hang", "hang: no sign of life";
    hang_without_interrupts: "hard-hang", "non-maskable interrupt";
    machine_check: "machine-check", "machine check";
    panic_in_the_crash_path: "panic-in-panic", "in the crash path of a panic";
    panic_in_what_is_shown: "panic-in-display", "panic: ";
    panic_in_what_is_logged: "panic-in-log", "panic: ";
    panic_at_an_nmi: "panic-in-nmi", "panic: ";
    panic_in_a_flood_of_lines: "log-storm", "panic: provoked";
}

#[test]
fn an_nmi_from_outside() {
    let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    let mut running = scene.start("crash=nmi watchdog=off");
    running.wait_for_serial("crash on purpose").unwrap();
    running.qmp().inject_nmi().unwrap();
    running.wait().unwrap().expect(Outcome::Crashed { durable_everywhere: true }).unwrap();
    for disk in 0..2 {
        let lines = scene.lines(disk);
        let record = crash_record(&lines).unwrap_or_else(|error| panic!("{error:#}: {lines:#?}")).unwrap();
        assert!(record[1].contains("non-maskable interrupt"), "{record:?}");
    }
}
