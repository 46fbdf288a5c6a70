//! Whatever crashes: its record is whole on every disk, behind the last line.

use qemu::{Kind, Outcome, Running};
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
    hang: "hang hang_ms=1000", "hang: no sign of life";
    hang_in_a_bad_state: "hang hang_ms=1000 crash.with=sse,direction,flags", "hang: no sign of life";
    hang_without_interrupts: "hard-hang nmi=report", "non-maskable interrupt";
    hang_without_interrupts_in_a_bad_state: "hard-hang crash.with=sse,direction,flags", "non-maskable interrupt";
    machine_check: "machine-check", "machine check";
    panic_in_the_crash_path: "panic-in-panic", "in the crash path of a panic";
    panic_in_what_is_shown: "panic-in-display", "panic: ";
    panic_that_allocates: "panic-allocating", "panic: provoked by crash=panic-allocating: 4096 bytes";
    panic_that_allocates_with_all_locks_held: "panic-allocating crash.with=locks", "in the crash path of a panic at ";
    panic_that_waits_for_ever: "panic-locking", "no sign of life from the crash path; this is where it is; this was in";
    panic_in_what_is_logged: "panic-in-log", "panic: ";
    panic_at_an_nmi: "panic-in-nmi", "panic: ";
    stack_overflow_at_an_nmi: "overflow-in-nmi", "stack overflow: ";
    stack_overflow_in_the_crash_path: "overflow-in-panic", "; this was in the crash path of a panic at ";
    stack_overflow_in_the_tick: "stack-overflow crash.at=tick", "stack overflow: ";
    panic_in_a_flood_of_lines: "log-storm", "panic: provoked";
}

/// The record of a guest that was idle until something came from outside.
fn record_after(happens: impl FnOnce(&mut Running)) -> Vec<String> {
    let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    let mut running = scene.start("app=idle watchdog=off");
    for name in ["vda", "nvme0n1"] {
        running.wait_for_serial(&format!("now logging to {name}")).unwrap();
    }
    happens(&mut running);
    running.wait().unwrap().expect(Outcome::Crashed { durable_everywhere: true }).unwrap();
    let [one, other] = [0, 1].map(|disk| {
        let lines = scene.lines(disk);
        crash_record(&lines).unwrap_or_else(|error| panic!("{error:#}: {lines:#?}")).unwrap().to_vec()
    });
    assert_eq!(one[0], other[0]);
    one
}

#[test]
fn an_nmi_from_outside() {
    let record = record_after(|running| {
        running.qmp().inject_nmi().unwrap();
        // Who presses the button twice does not cut the record short. The machine may have ended by then.
        let _ = running.qmp().inject_nmi();
    });
    assert!(record[1].contains("non-maskable interrupt") && !record[1].contains("in the crash path"), "{record:?}");
}

#[test]
fn a_machine_check_that_the_processor_raises() {
    let record = record_after(|running| {
        let answer = running.qmp().monitor("mce 0 1 0xb400000000000135 0x5 0x12345678 0").unwrap();
        assert_eq!(answer.trim(), "");
    });
    let status = "global status 0x5, bank 1 status 0xb400000000000135 address 0x12345678";
    assert!(record[1].starts_with("reason: machine check: at 0x") && record[1].ends_with(status), "{record:?}");
}

#[test]
fn a_record_tells_what_is_known_and_not_what_is_not() {
    for (kind, has_rax) in [("page-fault", true), ("panic", false)] {
        let scene = Scene::with_consoles(&[Kind::Virtio]);
        scene.run_crash(&format!("crash={kind}"));
        let lines = scene.lines(0);
        let record = crash_record(&lines).unwrap().unwrap();
        let has = |text: &str| record.iter().any(|line| line.contains(text));
        assert_eq!(has(" rax="), has_rax, "{record:#?}");
        assert!([" ss=", " cr0=", " cr3=", " cr4=", " rip="].into_iter().all(has), "{record:#?}");
        assert!(record.iter().any(|line| line == "boot: 1"), "{record:#?}");
        assert!(has("console vda: logging, boot 1, tile ") && has(" 0 errors"), "{record:#?}");
    }
}

#[test]
fn of_a_stack_that_overflowed_the_end_is_shown() {
    let scene = Scene::with_consoles(&[Kind::Virtio]);
    scene.run_crash("crash=stack-overflow");
    let lines = scene.lines(0);
    let record = crash_record(&lines).unwrap().unwrap();
    assert!(record.iter().any(|line| line.starts_with("stack 0x")), "{record:#?}");
}

#[test]
fn crashes_in_the_crash_path_of_crashes_leave_less_and_less() {
    let reason = "provoked in the crash path by crash.levels";
    for levels in 1..=3 {
        let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
        let durable_everywhere = levels == 1;
        let words = format!("crash=panic crash.levels={levels}");
        let report = scene.run(&words, Outcome::Crashed { durable_everywhere });
        let serial = report.serial_text();
        match levels {
            1 => {
                let lines = scene.lines(0);
                let record = crash_record(&lines).unwrap().unwrap();
                assert!(record[1].contains(reason) && record[1].contains("in the crash path of a panic"), "{record:?}");
                assert!(record.iter().all(|line| !line.starts_with("frame ")), "{record:?}");
            }
            2 => assert!(serial.contains(&format!("blockconsole: crashed: panic: {reason}")), "{report}"),
            _ => assert!(!serial.contains("blockconsole: crashed"), "{report}"),
        }
    }
}
