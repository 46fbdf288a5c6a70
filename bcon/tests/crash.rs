//! Crash records: checked, with functions and lines, singly and by the hundred.
#![forbid(unsafe_code)]

mod common;

use common::{Folder, Maker, Writer, bcon, bcon_ok};
use object::{Object, ObjectSymbol};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "\
#[inline(always)]
fn innermost(x: u64) -> u64 {
    std::hint::black_box(x) + 1 // line 3
}

#[inline(never)]
#[unsafe(no_mangle)]
fn outer_function(x: u64) -> u64 {
    innermost(x) * 3 // line 9
}

fn main() {
    println!(\"{}\", outer_function(std::hint::black_box(5)));
}
";

/// Builds a small program with a build id; returns it, its build id, and the address of `outer_function`.
fn build(folder: &Folder, name: &str, source: &str) -> (PathBuf, String, u64) {
    let source_path = folder.write(&format!("{name}.rs"), source.as_bytes());
    let program = folder.file(name);
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc)
        .args(["--edition=2024", "-g", "-Copt-level=1", "-Clink-arg=-Wl,--build-id=sha1", "-o"])
        .arg(&program)
        .arg(&source_path)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let bytes = std::fs::read(&program).unwrap();
    let object = object::File::parse(&*bytes).unwrap();
    let id: String = object.build_id().unwrap().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let address = object.symbols().find(|symbol| symbol.name() == Ok("outer_function")).unwrap().address();
    (program, id, address)
}

/// A disk whose last boot crashed.
fn disk(record: &[&str], reason: &str) -> Maker {
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    maker.lines(0..100);
    maker.text(record_text(record, reason).as_bytes());
    maker.pad();
    maker
}

/// A record with a build line of its own.
fn record_text(lines: &[&str], reason: &str) -> String {
    let mut inner = format!("reason: {reason}\n");
    for line in lines {
        inner.push_str(&format!("{line}\n"));
    }
    let crc = common::crc32c(inner.as_bytes());
    let count = inner.lines().count();
    format!(
        "---[ crash 00000000000000aa ]---\n{inner}---[ end crash 00000000000000aa lines={count} crc32c={crc:08x} ]---\n"
    )
}

fn crash(status: i32, path: &Path, more: &[&OsStr]) -> String {
    bcon_ok(status, [OsStr::new("crash"), path.as_os_str()].into_iter().chain(more.iter().copied()))
}

#[test]
fn a_whole_record_is_printed_as_it_stands() {
    let folder = Folder::new("whole");
    let record = ["version: 1", "trap: 14 page fault, error code 0x2", "frame 0: 0x1", "stack 0x10: 0000000000000001"];
    let path = folder.write("disk.img", &disk(&record, "page fault: at 0x0").bytes);
    assert_eq!(crash(0, &path, &[]), record_text(&record, "page fault: at 0x0"));
    let value: Value = serde_json::from_str(&crash(0, &path, &["--output=json".as_ref()])).unwrap();
    assert_eq!((&value["id"], &value["whole"]), (&"00000000000000aa".into(), &true.into()));
    assert_eq!((&value["boot"], &value["tile"]), (&1.into(), &1.into()));
    assert_eq!(value["reason"], "page fault: at 0x0");
    assert_eq!(value["frames"][0]["address"], "0x0000000000000001");
    assert_eq!(value["stack"][0]["words"][0], "0x0000000000000001");
}

#[test]
fn no_record_is_told_from_a_damaged_one() {
    let folder = Folder::new("status");
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    let path = folder.write("disk.img", &maker.bytes);
    assert_eq!(crash(1, &path, &[]), "");
    maker.boot();
    maker.lines(0..5);
    assert_eq!(crash(1, &folder.write("disk.img", &maker.bytes), &[]), "");
    // Cut in the middle by a power failure.
    maker.text(b"---[ crash 00000000000000aa ]---\nreason: panic: half\nbui");
    let path = folder.write("disk.img", &maker.bytes);
    assert!(crash(2, &path, &[]).contains("reason: panic: half"));
    let errors = bcon([OsStr::new("crash"), path.as_os_str()]).stderr;
    assert!(String::from_utf8_lossy(&errors).contains("no last line"));
}

#[test]
fn the_last_record_is_found_across_tiles_and_boots() {
    let folder = Folder::new("across");
    let record = common::crash_record(1, "panic: split", &["note: a", "note: b"]);
    for before in (1..record.len()).step_by(7) {
        let mut maker = Maker::new(Writer::Ours, 4, 512);
        maker.boot();
        maker.fill_to(before);
        maker.text(record.as_bytes());
        // The next boot says nothing of it.
        maker.boot();
        maker.lines(0..3);
        let path = folder.write("disk.img", &maker.bytes);
        assert_eq!(crash(0, &path, &[]), record, "{before} bytes in the first tile");
        assert_eq!(crash(0, &path, &["--boot=-1".as_ref()]), record);
        assert_eq!(crash(1, &path, &["--boot=last".as_ref()]), "");
        let list = bcon_ok(0, [OsStr::new("list"), path.as_os_str()]);
        assert!(list.contains("no crash"), "{list}");
    }
}

#[test]
fn functions_and_lines() {
    let folder = Folder::new("symbols");
    let (program, build_id, address) = build(&folder, "program", PROGRAM);
    let build_line = format!("build: {build_id}");
    // A trap at the first instruction, and a return address somewhat behind it.
    let (trap, frame) = (format!("registers: rip={address:016x}"), format!("frame 0: {address:#018x}"));
    let second = format!("frame 1: {:#018x}", address + 4);
    let path = folder.write("disk.img", &disk(&[&build_line, &trap, &frame, &second], "panic: x").bytes);
    let text = crash(0, &path, &["--elf".as_ref(), program.as_os_str()]);
    let first_frame = text.split("frame ").nth(1).unwrap();
    assert!(
        first_frame.contains("program.rs:3:") && first_frame.contains(" (inlined)\n    outer_function at "),
        "{text}"
    );
    assert!(first_frame.trim_end().ends_with("program.rs:9:5"), "{text}");
    assert_eq!(text.matches("program::innermost at ").count(), 2, "{text}");
    let value: Value =
        serde_json::from_str(&crash(0, &path, &["--output=json".as_ref(), "--elf".as_ref(), program.as_os_str()]))
            .unwrap();
    let functions = value["frames"][0]["functions"].as_array().unwrap();
    assert_eq!(functions.last().unwrap()["function"], "outer_function");
    // In a folder it is found by its build id.
    assert!(crash(0, &path, &["--elf".as_ref(), folder.path().as_os_str()]).contains("outer_function"));
}

#[test]
fn another_build_is_refused() {
    let folder = Folder::new("refused");
    let (program, build_id, address) = build(&folder, "program", PROGRAM);
    let (other, other_id, _) = build(&folder, "other", &PROGRAM.replace("* 3", "* 4"));
    assert_ne!(build_id, other_id);
    let frame = format!("frame 0: {address:#018x}");
    let path = folder.write("disk.img", &disk(&[&format!("build: {build_id}"), &frame], "panic: x").bytes);
    crash(0, &path, &["--elf".as_ref(), program.as_os_str()]);
    let refused = |path: &Path, elf: &Path, words: &str| {
        let output = bcon([OsStr::new("crash"), path.as_os_str(), "--elf".as_ref(), elf.as_os_str()]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(3) && errors.contains(words), "{errors}");
    };
    refused(&path, &other, "is another build than the one that crashed");
    refused(&path, &folder.file("program.rs"), "is no ELF program");
    refused(&path, &folder.file("missing"), "cannot read");
    std::fs::remove_file(&program).unwrap();
    refused(&path, folder.path(), "no program in");
    let path = folder.write("disk.img", &disk(&[&frame], "panic: x").bytes);
    refused(&path, &other, "the crash record has no build id");
}

#[test]
fn a_fleet_is_summed_up() {
    let folder = Folder::new("fleet");
    for number in 0..40 {
        let name = format!("disk{number:03}.img");
        let maker = match number % 8 {
            0..=3 => disk(&["place: src/a.rs:1:1"], "panic: the usual"),
            4 => disk(&["place: src/b.rs:2:2"], "page fault: the other"),
            5 => {
                let mut maker = disk(&["place: src/b.rs:2:2"], "page fault: the other");
                let at = maker.bytes.windows(7).rposition(|window| window == b"crc32c=").unwrap();
                maker.bytes[at + 7] = b'g';
                maker
            }
            6 => Maker::new(Writer::Ours, 2, 512),
            _ => {
                folder.write(&name, b"no disk at all");
                continue;
            }
        };
        // Sparse enough to be quick.
        folder.write(&name, &maker.bytes[..2 << 20]);
    }
    let text = bcon_ok(2, [OsStr::new("crash"), "--all".as_ref(), folder.path().as_os_str()]);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(lines[0], "20  panic: the usual");
    assert_eq!(lines[1], "at src/a.rs:1:1");
    assert!(lines[2].ends_with("and 17 more"));
    assert_eq!(lines[3], "10  page fault: the other (5 damaged)");
    assert_eq!(*lines.last().unwrap(), "30 crashed, 5 did not, 0 could not be read");
    let value: Value = serde_json::from_str(&bcon_ok(
        2,
        [OsStr::new("crash"), "--all".as_ref(), "--output=json".as_ref(), folder.path().as_os_str()],
    ))
    .unwrap();
    assert_eq!((&value["crashes"][0]["count"], &value["without_crash"]), (&20.into(), &5.into()));
}
