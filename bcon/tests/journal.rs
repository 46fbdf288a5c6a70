//! A real `systemd-journal-remote` takes the export in; `journalctl` shows it.

mod common;

use common::{Folder, Maker, UUID, Writer, bcon_ok, numbered};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where distributions have the program, which is in no search path.
const REMOTE: [&str; 2] = ["/usr/lib/systemd/systemd-journal-remote", "/lib/systemd/systemd-journal-remote"];

/// The entries of a journal made of an export; `None` where systemd's programs are not installed.
fn through_systemd(folder: &Folder, export: &Path) -> Option<Vec<Value>> {
    let remote = REMOTE.iter().map(PathBuf::from).find(|path| path.is_file())?;
    let has_reader = Command::new("journalctl").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_reader {
        return None;
    }
    let journal = folder.file("out.journal");
    let output = Command::new(remote).arg("-o").arg(&journal).arg(export).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new("journalctl").arg("--file").arg(&journal).args(["-o", "json", "--all"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn number(entry: &Value, field: &str) -> u64 {
    entry[field].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {field} in {entry}"))
}

#[test]
fn systemd_shows_the_lines_with_priorities_boots_and_times() {
    let folder = Folder::new("journal");
    let mut maker = Maker::new(Writer::Ours, 8, 512);
    maker.boot();
    maker.lines(0..200);
    maker.line("[    0.300000] WARN  app: a tab\there, and a backslash \\");
    maker.crash(7, "panic: at the disco", &["cpu: 0"]);
    maker.boot();
    maker.lines(200..260);
    let disk = folder.write("disk.img", &maker.bytes);
    let path = disk.to_str().unwrap();
    let export = folder.write("export", bcon_ok(0, ["cat", path, "--output", "journal"]).as_bytes());

    let Some(entries) = through_systemd(&folder, &export) else {
        assert!(std::env::var_os("BLOCKCONSOLE_TOOLS").is_none(), "systemd's programs are required, and not there");
        eprintln!(
            "skipped: systemd-journal-remote or journalctl is not installed (apt-get install systemd-journal-remote)"
        );
        return;
    };
    assert_eq!(entries.len(), bcon_ok(0, ["cat", path]).lines().count());
    // The first of January 2026, which the boots' first lines say.
    const FIRST: u64 = 1_767_225_600_000_000;
    let shown = |wanted: &str| {
        let mut found =
            entries.iter().filter(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.contains(wanted)));
        let entry = found.next().unwrap_or_else(|| panic!("no {wanted}"));
        assert!(found.next().is_none(), "{wanted} twice");
        entry
    };
    for index in 0..260_u32 {
        let line = numbered(index);
        let message = line.split_once(": ").unwrap().1;
        let entry = shown(message);
        let boot = if index < 200 { 1 } else { 2 };
        let monotonic = u64::from(index) * 1000;
        assert_eq!(number(entry, "PRIORITY"), [3, 4, 6, 7, 7][index as usize % 5], "{line}");
        assert_eq!(number(entry, "__MONOTONIC_TIMESTAMP"), monotonic, "{line}");
        assert_eq!(number(entry, "__REALTIME_TIMESTAMP"), FIRST + (boot - 1) * 86_400_000_000 + monotonic, "{line}");
        assert_eq!(entry["_BOOT_ID"], format!("{UUID:08x}626c6f636b636f6e{boot:08x}"), "{line}");
        assert_eq!(number(entry, "BLOCKCONSOLE_BOOT"), boot, "{line}");
        assert_eq!(entry["SYSLOG_IDENTIFIER"], format!("app::part{}", index % 3), "{line}");
    }
    assert_eq!(shown("a tab")["MESSAGE"], "a tab\there, and a backslash \\");
    assert_eq!(number(shown("panic: at the disco"), "PRIORITY"), 2, "a crash record is critical");
}
