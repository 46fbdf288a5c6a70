//! Following a disk that is being written.
#![forbid(unsafe_code)]

mod common;

use bcon::follow::{Follow, Look};
use bcon::log::Log;
use bcon::output::LineWriter;
use bcon::output::journal::Journal;
use common::{Folder, Maker, TILE, Writer, bcon_ok, numbered};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Copies to the disk what has changed since the last time, in blocks, and headers last.
struct Disk {
    file: File,
    before: Vec<u8>,
}

impl Disk {
    fn new(path: &Path, maker: &Maker) -> Self {
        Self { file: File::options().write(true).open(path).unwrap(), before: maker.bytes.clone() }
    }

    fn update(&mut self, maker: &Maker) {
        let mut changed: Vec<_> = (0..maker.bytes.len())
            .step_by(512)
            .filter(|&at| maker.bytes[at..at + 512] != self.before[at..at + 512])
            .collect();
        // A tile is erased before it gets its header; and text follows the header.
        let erased = |at: usize| maker.bytes[at..at + 512].iter().all(|&byte| byte == 0);
        changed.sort_by_key(|&at| (!erased(at), at));
        for at in changed {
            self.file.write_all_at(&maker.bytes[at..at + 512], at as u64).unwrap();
        }
        self.before.clone_from(&maker.bytes);
    }
}

fn drain(follow: &mut Follow, lines: &mut Vec<String>) -> bool {
    let mut overtaken = false;
    loop {
        let look = follow.look(|line| {
            lines.push(String::from_utf8(line.bytes.to_vec()).unwrap());
            Ok(())
        });
        match look.unwrap() {
            Look::Something => {}
            Look::Overtaken => overtaken = true,
            Look::Nothing => return overtaken,
        }
    }
}

fn start(path: &Path) -> Follow {
    let target = bcon::target::open(path).unwrap();
    let console = target.console(None).unwrap();
    Follow::new(console, Log::open(console).unwrap(), 0)
}

#[test]
fn lines_come_once_across_tiles_wraps_and_boots() {
    for block in [512, 4096] {
        let folder = Folder::new(&format!("follow{block}"));
        let mut maker = Maker::new(Writer::Ours, 4, block);
        let path = folder.write("disk.img", &maker.bytes);
        let mut disk = Disk::new(&path, &maker);
        let mut follow = start(&path);
        let mut lines = Vec::new();
        let mut expected = Vec::new();
        for step in 0..60_u32 {
            if step % 13 == 0 {
                maker.boot();
                disk.update(&maker);
            }
            let numbers = step * 1000..step * 1000 + 200 + step * 30;
            expected.extend(numbers.clone().map(numbered));
            maker.lines(numbers);
            match step % 4 {
                0 => maker.pad(),
                1 | 2 => maker.pad_for_now(),
                _ => {}
            }
            disk.update(&maker);
            assert!(!drain(&mut follow, &mut lines), "step {step}");
        }
        assert!(maker.round > 1);
        maker.pad();
        disk.update(&maker);
        drain(&mut follow, &mut lines);
        let numbered: Vec<_> = lines.iter().filter(|line| line.contains("app::part")).cloned().collect();
        assert_eq!(numbered.len(), expected.len());
        assert!(numbered == expected);
        let boots = lines.iter().filter(|line| line.contains(" blockconsole: boot ")).count();
        assert_eq!(boots, 5);
    }
}

#[test]
fn a_carried_tile_is_passed_over() {
    let folder = Folder::new("followcarried");
    let mut maker = Maker::new(Writer::Ours, 5, 512);
    maker.boot();
    maker.crash(1, "panic: kept", &[]);
    maker.kept = vec![1];
    maker.boot();
    let path = folder.write("disk.img", &maker.bytes);
    let mut disk = Disk::new(&path, &maker);
    let target = bcon::target::open(&path).unwrap();
    let console = target.console(None).unwrap();
    let log = Log::open(console).unwrap();
    let newest = log.len() - 1;
    let mut follow = Follow::new(console, log, newest);
    let mut lines = Vec::new();
    for part in 0..60 {
        maker.lines(part * 1000..part * 1000 + 1000);
        disk.update(&maker);
        drain(&mut follow, &mut lines);
    }
    assert!(maker.round > 0 && maker.tile > Some(1));
    maker.pad();
    disk.update(&maker);
    drain(&mut follow, &mut lines);
    assert!(!lines.iter().any(|line| line.contains("crash")));
    let numbered_lines = lines.iter().filter(|line| line.contains("app::part"));
    assert!(numbered_lines.eq(&(0..60_000).map(numbered).collect::<Vec<_>>()));
}

#[test]
fn a_reader_that_is_overtaken_says_so_and_goes_on() {
    let folder = Folder::new("overtaken");
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    maker.line("[    1.000000] INFO  app: first");
    maker.pad();
    let path = folder.write("disk.img", &maker.bytes);
    let mut disk = Disk::new(&path, &maker);
    let mut follow = start(&path);
    let mut lines = Vec::new();
    drain(&mut follow, &mut lines);
    assert!(lines.last().unwrap().ends_with("first"));
    maker.lines(0..90_000);
    maker.line("[99999.000000] INFO  app: last");
    maker.pad();
    disk.update(&maker);
    assert!(maker.round > 1);
    assert!(drain(&mut follow, &mut lines));
    assert!(lines.last().unwrap().ends_with("last"));
}

#[test]
fn a_disk_that_is_formatted_anew_ends_it() {
    let folder = Folder::new("anew");
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    let path = folder.write("disk.img", &maker.bytes);
    let mut follow = start(&path);
    drain(&mut follow, &mut Vec::new());
    let mut other = maker.bytes.clone();
    other[TILE + 32..TILE + 40].copy_from_slice(b"11111111");
    std::fs::write(&path, other).unwrap();
    let error = follow.look(|_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("formatted anew"), "{error}");
}

/// The program itself: what was there, and what is added while it runs, each line once, in order.
#[test]
fn the_program_prints_lines_as_they_come() {
    let folder = Folder::new("program");
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    maker.lines(0..100);
    maker.pad();
    let path = folder.write("disk.img", &maker.bytes);
    let mut disk = Disk::new(&path, &maker);
    let mut child = Command::new(env!("CARGO_BIN_EXE_bcon"))
        .args(["tail", "-f", "-n", "5"])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut expect = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            // The console's own lines come as well.
            let line = loop {
                let line = lines.next().unwrap().unwrap();
                if line.contains("app::part") {
                    break line;
                }
            };
            assert_eq!(line, numbered(number));
        }
    };
    expect(95..100);
    for step in 1..8 {
        maker.lines(step * 100..step * 100 + 100);
        if step % 2 == 0 {
            maker.pad()
        } else {
            maker.pad_for_now()
        }
        disk.update(&maker);
        expect(step * 100..step * 100 + 100);
        if step == 4 {
            maker.boot();
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The journal export of a log that is followed is that of the log as it stands then: the same cursors, also for boots that
/// began meanwhile.
#[test]
fn the_journal_is_the_same_however_it_is_read() {
    let folder = Folder::new("cursors");
    let mut maker = Maker::new(Writer::Ours, 12, 512);
    maker.boot();
    maker.lines(0..50);
    maker.boot();
    maker.pad();
    let path = folder.write("disk.img", &maker.bytes);
    let mut disk = Disk::new(&path, &maker);
    let target = bcon::target::open(&path).unwrap();
    let console = target.console(None).unwrap();
    let before = Log::open(console).unwrap();
    let mut writer = Journal::new(&before);
    let newest = before.len() - 1;
    let mut follow = Follow::new(console, Log::open(console).unwrap(), newest);
    let mut followed = Vec::new();
    for step in 0..25_u32 {
        maker.lines(step * 1000..step * 1000 + 700);
        if step == 24 {
            maker.pad();
        } else if step % 6 == 5 {
            maker.text(b"[  999.000000] INFO  app: a line that is cut o");
            maker.pad();
            maker.boot();
        } else if step % 2 == 0 {
            maker.pad()
        } else {
            maker.pad_for_now()
        }
        disk.update(&maker);
        while follow
            .look(|line| {
                writer.note(line);
                Ok(writer.line(line, &mut followed)?)
            })
            .unwrap()
            == Look::Something
        {}
    }
    assert!(maker.boot == 6 && maker.round == 0, "{} {}", maker.boot, maker.round);
    let whole = bcon_ok(0, ["cat".as_ref(), path.as_os_str(), "--output=journal".as_ref()]);
    let cursors = |text: &str| -> Vec<String> {
        text.split("\n\n").map(|entry| entry.lines().take(3).collect::<Vec<_>>().join(" ")).collect()
    };
    let (whole, followed) = (cursors(&whole), cursors(&String::from_utf8(followed).unwrap()));
    let missing = whole.len() - followed.len();
    let differs = whole.iter().skip(missing).zip(&followed).find(|(one, other)| one != other);
    assert!(followed.len() > 10_000 && differs.is_none(), "{missing} before, {differs:?}");
    let distinct: std::collections::BTreeSet<_> = whole.iter().collect();
    assert_eq!(distinct.len(), whole.len());
    // Boots 3 to 6 began after the log was opened: none is dated 1970.
    assert!(
        whole.iter().filter(|entry| !entry.is_empty()).all(|entry| entry.contains("TIMESTAMP=1767")),
        "{:?}",
        whole[0]
    );
}
