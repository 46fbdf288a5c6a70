//! Choosing boots and lines, and the formats that they are printed in.
#![forbid(unsafe_code)]

mod common;

use common::{Folder, Maker, TILE, Writer, bcon, bcon_ok, numbered};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Four boots of two tiles or so each; the second one crashed.
fn sample(folder: &Folder) -> (PathBuf, Maker) {
    let mut maker = Maker::new(Writer::Ours, 16, 512);
    for boot in 0..4_u32 {
        maker.boot();
        maker.lines(boot * 100_000..boot * 100_000 + 12_000);
        if boot == 1 {
            maker.crash(0xabc, "panic: second boot", &[]);
        }
        maker.pad();
    }
    (folder.write("disk.img", &maker.bytes), maker)
}

/// The numbers of the numbered lines in a text.
fn numbers(text: &str) -> Vec<u32> {
    text.lines().filter_map(|line| line.split(": line ").nth(1)).map(|rest| rest[..7].parse().unwrap()).collect()
}

fn cat(path: &Path, args: &[&str]) -> String {
    bcon_ok(0, ["cat".as_ref(), path.as_os_str()].into_iter().chain(args.iter().map(AsRef::as_ref)))
}

#[test]
fn boots() {
    let folder = Folder::new("boots");
    let (path, _) = sample(&folder);
    for (choice, boot) in [("1", 0), ("2", 1), ("last", 3), ("0", 3), ("-1", 2), ("-3", 0)] {
        let text = cat(&path, &["--boot", choice]);
        assert_eq!(numbers(&text), (boot * 100_000..boot * 100_000 + 12_000).collect::<Vec<_>>(), "--boot {choice}");
        assert!(text.starts_with(&format!("[    0.000000] INFO  blockconsole: boot {} of", boot + 1)));
    }
    for choice in ["5", "-4"] {
        let output = bcon(["cat".as_ref(), path.as_os_str(), "--boot".as_ref(), choice.as_ref()]);
        assert_eq!(output.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&output.stderr).contains("which has boots 1 to 4"));
    }
}

#[test]
fn a_disk_of_linux_has_no_boots() {
    let folder = Folder::new("noboots");
    let mut maker = Maker::new(Writer::Linux, 4, 512);
    maker.boot();
    maker.line("[    0.000000] Linux version 6.1");
    maker.pad();
    let path = folder.write("disk.img", &maker.bytes);
    let output = bcon(["cat".as_ref(), path.as_os_str(), "--boot=last".as_ref()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("names no boots"));
    assert_eq!(cat(&path, &["--level=error"]), "[    0.000000] Linux version 6.1\n");
}

#[test]
fn levels_names_times_and_patterns() {
    let folder = Folder::new("filter");
    let (path, _) = sample(&folder);
    let all: Vec<u32> = (0..12_000).collect();
    let only = |args: &[&str], wanted: &dyn Fn(u32) -> bool| {
        let args: Vec<_> = ["--boot=1"].iter().chain(args).copied().collect();
        let expected: Vec<_> = all.iter().copied().filter(|&number| wanted(number)).collect();
        assert_eq!(numbers(&cat(&path, &args)), expected, "{args:?}");
    };
    only(&["--level=error"], &|n| n % 5 == 0);
    only(&["--level=WARN"], &|n| n % 5 <= 1);
    only(&["--level=trace"], &|_| true);
    only(&["--target=app::part1"], &|n| n % 3 == 1);
    only(&["--target=app"], &|_| true);
    only(&["--target=app::part"], &|_| false);
    only(&["--target=app::part1", "--target=app::part2"], &|n| n % 3 != 0);
    only(&["--since=3", "--until=4.5"], &|n| (3000..=4500).contains(&n));
    only(&["--grep=line 00(01|02)...  ?abc"], &|n| (1000..3000).contains(&n) && n % 9 != 0);
    // Two lines around each of two that are chosen, and three lines for two that are next to each other.
    let text = cat(&path, &["--boot=1", "--grep=line 0000(100|200|201) ", "--context=2"]);
    assert_eq!(numbers(&text), (98..=102).chain(198..=203).collect::<Vec<_>>());
}

#[test]
fn since_the_crash() {
    let folder = Folder::new("since");
    let (path, _) = sample(&folder);
    let text = cat(&path, &["--since-crash"]);
    assert!(text.starts_with("---[ crash 0000000000000abc ]---\nreason: panic: second boot\n"));
    let numbers = numbers(&text);
    assert_eq!((numbers[0], numbers.len()), (200_000, 24_000));
}

#[test]
fn crash_records_are_errors() {
    let folder = Folder::new("errors");
    let (path, _) = sample(&folder);
    let text = cat(&path, &["--boot=2", "--level=error", "--grep=crash|reason"]);
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn json() {
    let folder = Folder::new("json");
    let (path, maker) = sample(&folder);
    let text = cat(&path, &["--output=json"]);
    assert_eq!(text.lines().count(), maker.expected().lines().count());
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let first = lines.next().unwrap();
    assert_eq!(first["console"], path.to_str().unwrap());
    assert_eq!((&first["uuid"], &first["boot"], &first["tile"]), (&"0badcafe".into(), &1.into(), &1.into()));
    let line = lines.find(|line| line["message"].as_str().unwrap().starts_with("line 0200004 ")).unwrap();
    assert_eq!((&line["boot"], &line["level"], &line["target"]), (&3.into(), &"trace".into(), &"app::part0".into()));
    assert_eq!(line["time"], 200.004);
    let text = cat(&path, &["--output=json", "--boot=2"]);
    let crash: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["crash"] == true)
        .collect();
    assert_eq!(crash.len(), 5);
    assert_eq!(crash[1]["message"], "reason: panic: second boot");
    assert!(crash[1].get("level").is_none() && crash[1].get("time").is_none());
}

#[test]
fn journal_export() {
    let folder = Folder::new("journal");
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    maker.line(&numbered(1));
    maker.line("[    1.500000] INFO  app: \u{fc} \x1b");
    maker.crash(5, "panic: x", &[]);
    let path = folder.write("disk.img", &maker.bytes);
    let output = bcon(["cat".as_ref(), path.as_os_str(), "--output=journal".as_ref()]).stdout;
    let start = 1_767_225_600_000_000_u64; // 2026-01-01T00:00:00Z
    let id = "0badcafe626c6f636b636f6e00000001";
    let end = maker.bytes.windows(numbered(1).len()).position(|bytes| bytes == numbered(1).as_bytes()).unwrap() - TILE
        + numbered(1).len();
    let entry = format!(
        "__CURSOR=b={id};t=1;o={end:x};m=3e8\n__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP=1000\n_BOOT_ID={id}\nPRIORITY=4\n\
         SYSLOG_IDENTIFIER=app::part1\nMESSAGE=line 0000001 abcdefghij.\nBLOCKCONSOLE_UUID=0badcafe\nBLOCKCONSOLE_BOOT=1\n\
         BLOCKCONSOLE_LEVEL=WARN\n\n",
        start + 1000
    );
    let text = String::from_utf8_lossy(&output);
    assert!(text.contains(&entry), "{text}");
    // A value with a control character goes by its length.
    assert!(output.windows(20).any(|window| window == b"MESSAGE\n\x04\0\0\0\0\0\0\0\xC3\xBC \x1b"), "{text}");
    assert!(text.contains("PRIORITY=2\nSYSLOG_IDENTIFIER=kernel\nMESSAGE=reason: panic: x\n"));
    let entries = text.split("\n\n").filter(|entry| !entry.is_empty()).count();
    assert_eq!(entries, maker.expected().lines().count());
}

#[test]
fn the_end_of_the_log() {
    let folder = Folder::new("tail");
    let (path, maker) = sample(&folder);
    let all: Vec<String> = maker.expected().lines().map(str::to_owned).collect();
    for count in [0, 1, 10, 100, 15_000, 40_000, 1_000_000] {
        let text = bcon_ok(0, ["tail".as_ref(), path.as_os_str(), "-n".as_ref(), count.to_string().as_ref()]);
        let expected = &all[all.len().saturating_sub(count)..];
        assert!(text.lines().eq(expected.iter().map(String::as_str)), "-n {count}");
    }
    let text = bcon_ok(0, ["tail".as_ref(), path.as_os_str(), "-n3".as_ref(), "--level=error".as_ref()]);
    assert_eq!(numbers(&text), [311_985, 311_990, 311_995]);
}

#[test]
fn list_sums_up_and_reads_little() {
    let folder = Folder::new("list");
    let (path, maker) = sample(&folder);
    let text = bcon_ok(0, ["list".as_ref(), path.as_os_str()]);
    let used = maker.texts.len() + 1;
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[1..4], ["0badcafe", "0", &format!("{used}/16")]);
    assert!(
        text.contains(" 1-4 ") && text.contains("2026-01-04T00:00:00Z +311.999 s") && text.contains("no crash"),
        "{text}"
    );
    // A folder is looked through; what holds no console there is passed over.
    folder.write("junk", &[1; 5000]);
    let value: Value =
        serde_json::from_str(&bcon_ok(0, ["list".as_ref(), folder.path().as_os_str(), "--output=json".as_ref()]))
            .unwrap();
    assert_eq!(value.as_array().unwrap().len(), 1);
    assert_eq!((&value[0]["oldest_boot"], &value[0]["newest_boot"]), (&1.into(), &4.into()));
    assert_eq!(value[0]["last_crash"], Value::Null);
}

#[test]
fn finding_the_end_takes_few_reads_of_a_large_disk() {
    let folder = Folder::new("large");
    // A terabyte, nearly all of it a hole.
    let mut maker = Maker::new(Writer::Ours, 3, 512);
    maker.boot();
    maker.lines(0..10_000);
    let path = folder.write("disk.img", &maker.bytes);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let target = bcon::target::open(&path).unwrap();
    let log = bcon::log::Log::open(target.console(None).unwrap()).unwrap();
    assert_eq!((log.tiles, log.len()), (1 << 20, maker.texts.len() as u64 + 1));
    assert!(log.reads() <= 60, "{} reads", log.reads());
    assert!(maker.bytes.len() > TILE);
    bcon_ok(0, ["list".as_ref(), path.as_os_str()]);
}
