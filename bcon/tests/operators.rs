//! What the program does with several targets, odd disks, and odd readers.
#![forbid(unsafe_code)]

mod common;

use common::{Folder, HEADER, Maker, TILE, Writer, bcon, bcon_ok, crash_record, noise};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(command: &str, path: &Path, more: &[&str]) -> Output {
    bcon([OsStr::new(command), path.as_os_str()].into_iter().chain(more.iter().map(OsStr::new)))
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn small() -> Maker {
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    maker.lines(0..20);
    maker
}

fn qcow2() -> Vec<u8> {
    let mut bytes = vec![0; TILE];
    bytes[..4].copy_from_slice(b"QFI\xFB");
    bytes
}

#[test]
fn a_folder_hides_nothing_that_cannot_be_read() {
    let folder = Folder::new("hides");
    folder.write("a.qcow2", &qcow2());
    let (status, out, errors) = text(&run("list", folder.path(), &[]));
    assert_eq!(status, Some(3), "{errors}");
    assert!(out.is_empty() && errors.contains("a.qcow2") && errors.contains("qemu-nbd -r"), "{errors}");
    folder.write("b.img", &small().bytes);
    for (command, more) in [("list", &[][..]), ("cat", &[]), ("verify", &[]), ("crash", &["--all"])] {
        let (status, out, errors) = text(&run(command, folder.path(), more));
        assert!(status == Some(3) && errors.contains("a.qcow2"), "{command}: {errors}");
        assert!(!out.is_empty() && !errors.contains("b.img: "), "{command}: {out}{errors}");
    }
    std::fs::remove_file(folder.file("a.qcow2")).unwrap();
    folder.write("junk", b"no disk");
    for command in ["list", "cat", "verify"] {
        let (status, out, errors) = text(&run(command, folder.path(), &[]));
        assert!(status == Some(0) && errors.is_empty() && !out.is_empty(), "{command}: {errors}");
    }
}

#[test]
fn one_bad_target_does_not_keep_the_program_from_the_others() {
    let folder = Folder::new("others");
    let good = folder.write("good.img", &small().bytes);
    let missing = folder.file("missing.img");
    for command in [&["cat"][..], &["verify"], &["list"], &["crash", "--all"]] {
        let output = bcon(command.iter().map(AsRef::as_ref).chain([missing.as_os_str(), good.as_os_str()]));
        let (status, out, errors) = text(&output);
        assert!(status == Some(3) && errors.contains("missing.img"), "{command:?}: {errors}");
        assert!(out.len() > 20, "{command:?}: {out}");
    }
}

#[test]
fn text_that_looks_like_another_image_is_text() {
    let folder = Folder::new("conectix");
    for magic in [&b"conectix"[..], b"koly"] {
        let mut maker = Maker::new(Writer::Ours, 3, 512);
        maker.boot();
        while maker.tile != Some(2) {
            maker.lines(maker.number..maker.number + 100);
        }
        maker.fill_to(512);
        maker.text(magic);
        maker.text(&[b'x'; 300]);
        maker.text(b"\n");
        let path = folder.write("disk.img", &maker.bytes);
        assert_eq!(bcon_ok(0, ["cat".as_ref(), path.as_os_str()]), maker.expected());
        let (status, _, errors) = text(&run("format", &path, &[]));
        assert!(status == Some(3) && errors.contains("a console with its log"), "{errors}");
    }
}

/// Wipes what a console's first tiles begin with.
fn without_headers(maker: &Maker, tiles: usize) -> Vec<u8> {
    let mut bytes = maker.bytes.clone();
    for tile in 0..tiles {
        bytes[tile * TILE..][..HEADER].fill(0);
    }
    bytes
}

#[test]
fn a_console_is_found_by_its_later_tiles() {
    let folder = Folder::new("later");
    let mut maker = Maker::new(Writer::Ours, 16, 512);
    maker.boot();
    while maker.tile != Some(12) {
        maker.lines(maker.number..maker.number + 500);
    }
    maker.pad();
    let last = maker.expected().lines().last().unwrap().to_owned();
    for tiles in [1, 2, 7] {
        let path = folder.write("disk.img", &without_headers(&maker, tiles));
        let out = bcon_ok(0, ["cat".as_ref(), path.as_os_str()]);
        assert!(out == maker.expected(), "{tiles} tiles");
    }
    // Where even more are lost, it takes the uuid.
    let path = folder.write("disk.img", &without_headers(&maker, 11));
    let (status, _, errors) = text(&run("cat", &path, &[]));
    assert!(status == Some(3) && errors.contains("--uuid"), "{errors}");
    let out = bcon_ok(0, ["cat".as_ref(), path.as_os_str(), "--uuid=0badcafe".as_ref()]);
    assert!(out == maker.expected());
    assert!(
        bcon_ok(0, ["tail".as_ref(), path.as_os_str(), "-n1".as_ref(), "--uuid=0badcafe".as_ref()]).starts_with(&last)
    );
    assert_eq!(run("verify", &path, &["--uuid=0badcafe"]).status.code(), Some(1));
    assert_eq!(run("cat", &path, &["--uuid=00000001"]).status.code(), Some(3));
}

#[test]
fn a_partition_whose_console_lost_its_header_is_named_as_such() {
    let folder = Folder::new("lostpart");
    let mut maker = Maker::new(Writer::Ours, 6, 512);
    maker.boot();
    while maker.tile != Some(4) {
        maker.lines(maker.number..maker.number + 500);
    }
    let mut disk = vec![0; TILE];
    disk[446 + 4] = 0x83;
    disk[446 + 8..446 + 16].copy_from_slice(&[0, 8, 0, 0, 0, 48, 0, 0]); // 2048 + 12288
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk.extend(without_headers(&maker, 1));
    let path = folder.write("disk.img", &disk);
    assert!(bcon_ok(0, ["list".as_ref(), path.as_os_str()]).contains("disk.img partition 1  0badcafe"));
    assert!(bcon_ok(0, ["cat".as_ref(), path.as_os_str()]) == maker.expected());
}

/// A disk that Linux wrote: wrapped, and with old text behind the end of the new.
fn stale() -> Vec<u8> {
    let mut bytes = vec![0; 3 * TILE];
    // Whole lines, the last of which fills the tile.
    let fill = |tag: &str, from: u32| -> Vec<u8> {
        let lines = (0..).map(|n| format!("[{:5}.000000] {tag} {n}\n", from + n).into_bytes());
        let room = TILE - HEADER - 100;
        let mut text: Vec<u8> = lines
            .scan(0, |len, line| {
                *len += line.len();
                (*len < room).then_some(line)
            })
            .flatten()
            .collect();
        text.pop();
        text.resize(TILE - HEADER - 1, b'x');
        text.push(b'\n');
        text
    };
    let mut put = |tile: usize, round: u32, text: &[u8]| {
        let header =
            format!("\nLinux blockconsole version 1.1\n0badcafe\n{round:08x}\n{:08x}\n", tile.saturating_sub(1));
        bytes[tile * TILE..][..HEADER].copy_from_slice(header.as_bytes());
        bytes[tile * TILE + HEADER..][..text.len()].copy_from_slice(text);
    };
    (0..3).for_each(|tile| put(tile, 0, &fill("old", 0)));
    put(0, 1, &fill("new", 50_000));
    let mut text = b"[90000.000000] newest\n".to_vec();
    text.resize(512 - HEADER - 1, b' ');
    text.push(b'\n');
    put(1, 1, &text);
    bytes
}

#[test]
fn stale_text_of_linux_is_not_taken_for_the_newest() {
    let folder = Folder::new("stale");
    let path = folder.write("disk.img", &stale());
    let (status, out, errors) = text(&run("tail", &path, &["-n", "1"]));
    assert_eq!((status, out.as_str()), (Some(0), "[90000.000000] newest\n"), "{errors}");
    assert!(errors.contains("tile 1") && errors.contains("is left out"), "{errors}");
    let (_, out, errors) = text(&run("cat", &path, &[]));
    assert!(out.contains("newest") && errors.contains("tile 1") && errors.contains("may be older"), "{errors}");
    let (_, out, _) = text(&run("cat", &path, &["--output=json"]));
    let marked: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).filter(|l: &Value| l["stale"] == true).collect();
    assert!(marked.len() > 10_000 && marked.iter().all(|line| line["tile"] == 1));
    let (status, out, _) = text(&run("verify", &path, &[]));
    assert!(status == Some(1) && out.contains("time goes back"), "{out}");
}

#[test]
fn reboots_of_linux_are_no_damage() {
    let folder = Folder::new("reboots");
    let mut maker = Maker::new(Writer::Linux, 6, 512);
    for uptime in [99, 5, 700] {
        maker.boot();
        maker.line("[    0.000000] Linux version 6.1");
        maker.line(&format!("[{uptime:5}.000000] still there"));
        maker.pad();
    }
    let path = folder.write("disk.img", &maker.bytes);
    let out = bcon_ok(0, ["verify".as_ref(), path.as_os_str()]);
    assert_eq!(out.matches("the machine was started anew").count(), 2, "{out}");
    assert!(out.contains(": clean"), "{out}");
}

#[test]
fn nothing_on_a_disk_commands_a_terminal() {
    let folder = Folder::new("terminal");
    let mut maker = small();
    maker.line("[    1.000000] INFO  app: evil \u{9b}31m \u{7f} \x1b]0;x\x07");
    maker.crash(3, "panic: \u{9b}2J", &["place: \u{85}a"]);
    folder.write("a\x1b[31m\u{9b}.img", &maker.bytes);
    let path = folder.file("a\x1b[31m\u{9b}.img");
    for (command, more) in [
        ("list", &[][..]),
        ("list", &["--output=json"]),
        ("cat", &["--output=json"]),
        ("cat", &["--color=always", "--level=error"]),
        ("crash", &[]),
        ("crash", &["--output=json"]),
        ("crash", &["--all"]),
        ("crash", &["--all", "--output=json"]),
        ("verify", &[]),
        ("verify", &["--output=json"]),
        ("format", &[]),
        ("cat", &["--boot=77"]),
    ] {
        let (_, out, errors) = text(&run(command, &path, more));
        // The colours are the program's own.
        let out = ["\x1b[0m", "\x1b[1;31m", "\x1b[2m", "\x1b[1m"].iter().fold(out, |out, own| out.replace(own, ""));
        let odd = format!("{out}{errors}").chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(odd, None, "{command} {more:?}: {out:?} {errors:?}");
    }
    // `script` is a terminal: what is meant for programs does not go there.
    let Ok(output) = Command::new("script").args(["-qec", "true", "/dev/null"]).stdin(Stdio::null()).output() else {
        return;
    };
    assert!(output.status.success());
    let path = folder.write("disk.img", &small().bytes);
    for (more, status) in [("--output=journal", 64), ("--raw", 64), ("--output=json", 0), ("--raw | cat", 0)] {
        let line = format!("'{}' cat '{}' {more}", env!("CARGO_BIN_EXE_bcon"), path.display());
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        let (code, out, _) = text(&output);
        assert_eq!(code, Some(status), "{more}: {out}");
        assert_eq!(out.contains("through `| cat`"), status == 64, "{more}: {out}");
    }
    // Colour on a terminal, unless NO_COLOR is set.
    for (prefix, colored) in [("", true), ("NO_COLOR=1 ", false), ("NO_COLOR= ", true)] {
        let line = format!("{prefix}'{}' cat '{}'", env!("CARGO_BIN_EXE_bcon"), path.display());
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(text(&output).1.contains("\x1b[2m"), colored, "{prefix}");
    }
}

#[test]
fn nobody_at_standard_error_is_no_reason_to_die() {
    let folder = Folder::new("stderr");
    let mut maker = small();
    // Damage that is told of.
    maker.bytes[TILE + 3] ^= 1;
    let path = folder.write("disk.img", &maker.bytes);
    for arguments in [&["crash"][..], &["cat"], &["list"], &["cat", "--boot=77"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bcon"))
            .args(arguments)
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stderr.take());
        assert!(matches!(child.wait().unwrap().code(), Some(0..=3)), "{arguments:?}");
    }
}

#[test]
fn whole_tiles_are_not_filtered() {
    let folder = Folder::new("rawfilter");
    let path = folder.write("disk.img", &small().bytes);
    for more in [
        &["--raw", "--level=warn"][..],
        &["--raw", "--grep=x"],
        &["--output=raw", "--since=1"],
        &["--raw", "--output=json"],
    ] {
        let (status, out, errors) = text(&run("cat", &path, more));
        assert!(status == Some(64) && out.is_empty() && errors.contains("whole tiles"), "{more:?}: {errors}");
    }
    assert_eq!(run("cat", &path, &["--raw", "--boot=1"]).status.code(), Some(0));
}

#[test]
fn groups_of_lines_have_a_line_between_them() {
    let folder = Folder::new("groups");
    let path = folder.write("disk.img", &small().bytes);
    let out = bcon_ok(0, ["cat", path.to_str().unwrap(), "--grep=line 00000(02|04|12)", "--context=1"]);
    let parts: Vec<usize> = out.split("--\n").map(|part| part.lines().count()).collect();
    assert_eq!(parts, [5, 3], "{out}");
    let out =
        bcon_ok(0, ["cat", path.to_str().unwrap(), "--grep=line 00000(02|04|12)", "--context=1", "--output=json"]);
    assert!(out.lines().all(|line| line.starts_with('{')));
}

#[test]
fn list_tells_how_boots_ended() {
    let folder = Folder::new("ends");
    let end = |maker: &Maker| {
        let path = folder.write("disk.img", &maker.bytes);
        let value: Value =
            serde_json::from_str(&bcon_ok(0, ["list", path.to_str().unwrap(), "--output=json"])).unwrap();
        let text = bcon_ok(0, ["list", path.to_str().unwrap()]);
        (value[0]["end"].clone(), text.lines().nth(1).unwrap().to_owned())
    };
    let mut maker = small();
    assert_eq!(end(&maker).0, "cut");
    maker.line("[    9.000000] INFO  kernel: finished");
    maker.pad();
    let (json, row) = end(&maker);
    assert!(json == "clean" && row.contains("no crash, it finished"), "{row}");
    assert!(row.contains(" 2026-01-01T00:00:00Z  2026-01-01T00:00:00Z +9.000 s"), "when the first boot began: {row}");
    maker.boot();
    maker.crash(1, "panic: no", &[]);
    assert_eq!(end(&maker).0, "crash");
    assert_eq!(end(&Maker::new(Writer::Ours, 4, 512)).0, Value::Null);
}

#[test]
fn crashes_of_one_kind_at_one_place_are_one_group() {
    let folder = Folder::new("grouped");
    for number in 0..6_u64 {
        let mut maker = small();
        let place = if number < 4 { "place: src/a.rs:1:1" } else { "place: src/b.rs:2:2" };
        maker.text(
            crash_record(number, &format!("page fault: read from {:#x}", 0x1000 * (number / 2)), &[place]).as_bytes(),
        );
        maker.pad();
        folder.write(&format!("{number}.img"), &maker.bytes);
    }
    let out = bcon_ok(0, ["crash".as_ref(), "--all".as_ref(), folder.path().as_os_str()]);
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    assert_eq!(
        lines[..4],
        ["4  page fault", "at src/a.rs:1:1", "2 x page fault: read from 0x0", "2 x page fault: read from 0x1000"]
    );
    assert_eq!(lines[5..7], ["2  page fault: read from 0x2000", "at src/b.rs:2:2"], "{out}");
}

#[test]
fn programs_are_found_in_folders_without_reading_what_else_lies_there() {
    let folder = Folder::new("programs");
    let mut maker = small();
    // The test's own program is as good as any; its build id may be missing, then there is nothing to find.
    let own = std::env::current_exe().unwrap();
    let Some(id) = bcon::crash::symbols::build_id_of(&own).unwrap() else { return eprintln!("skipped: no build id") };
    let record = crash_record(1, "panic: x", &["frame 0: 0x1"]).replace("build: 00ff", &format!("build: {id}"));
    maker.text(record.as_bytes());
    maker.pad();
    let path = folder.write("disk.img", &maker.bytes);
    let builds = folder.file("builds");
    let debug = builds.join(".build-id").join(&id[..2]);
    std::fs::create_dir_all(&debug).unwrap();
    // A terabyte that is no program.
    std::fs::File::create(builds.join("disk")).unwrap().set_len(1 << 40).unwrap();
    assert!(bcon::crash::symbols::find_program(&builds, &id).unwrap().is_none());
    let (status, out, errors) = text(&run("crash", &path, &["--elf", builds.to_str().unwrap()]));
    assert!(out.contains("reason: panic: x") && errors.contains("without functions"), "{errors}");
    assert!(matches!(status, Some(2 | 3)) && errors.contains("no program in"), "{errors}");
    let file = debug.join(format!("{}.debug", &id[2..]));
    std::os::unix::fs::symlink(&own, &file).unwrap();
    assert_eq!(bcon::crash::symbols::find_program(&builds, &id).unwrap(), Some(file.clone()));
    std::fs::rename(&file, builds.join(".build-id/deep")).unwrap();
    assert!(bcon::crash::symbols::find_program(&builds, &id).unwrap().is_some());
}

#[test]
fn help_and_output_are_the_same() {
    let folder = Folder::new("documented");
    let mut maker = small();
    maker.crash(1, "panic: x", &["place: a", "trap: 1", "frame 0: 0x1", "note: a"]);
    let path = folder.write("disk.img", &maker.bytes);
    for (command, more) in [("list", &[][..]), ("crash", &[]), ("crash", &["--all"]), ("verify", &[]), ("cat", &[])] {
        let help = bcon_ok(0, [command, "--help"]);
        let words: Vec<&str> = help.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let json = text(&run(command, &path, &[more, &["--output=json"]].concat())).1;
        let mut values = serde_json::Deserializer::from_str(&json).into_iter::<Value>().map(Result::unwrap);
        let mut open: Vec<Value> = values.by_ref().collect();
        let mut count = 0;
        while let Some(value) = open.pop() {
            match value {
                Value::Array(list) => open.extend(list),
                Value::Object(fields) => {
                    for (name, value) in fields {
                        assert!(words.contains(&name.as_str()), "`bcon {command} --help` says nothing of `{name}`");
                        count += 1;
                        // These have fields of the disk's.
                        if !matches!(name.as_str(), "registers" | "consoles") {
                            open.push(value);
                        }
                    }
                }
                _ => {}
            }
        }
        assert!(count > 3, "{command}");
    }
    // Each command's help tells its exit statuses, and has examples.
    let main = bcon_ok(0, ["help"]);
    let commands: Vec<&str> = main
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands.iter().filter(|command| **command != "help") {
        let help = bcon_ok(0, [*command, "--help"]);
        assert!(help.contains("Exit status") && help.contains("Example"), "{command}");
    }
}

#[test]
fn a_pipe_cannot_be_followed_nor_be_another_image() {
    let feed = |arguments: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bcon"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // It may have ended before it was fed.
        let _ = std::io::Write::write_all(&mut input, &qcow2());
        drop(input);
        text(&child.wait_with_output().unwrap())
    };
    let (status, _, errors) = feed(&["tail", "-f", "-"]);
    assert!(status == Some(3) && errors.contains("cannot be followed") || errors.contains("which ends"), "{errors}");
    let (status, _, errors) = feed(&["cat", "-"]);
    assert!(status == Some(3) && errors.contains("what comes is a qcow2 image"), "{errors}");
    assert!(!noise(8).is_empty());
}

/// Behind a partition lies what looks like more of its log, with newer rounds: none of it is the console's.
#[test]
fn nothing_is_read_beyond_a_partition() {
    let folder = Folder::new("beyond");
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    maker.lines(0..60_000);
    maker.crash(1, "panic: inside", &[]);
    maker.boot();
    let mut disk = vec![0; TILE];
    disk[446 + 4] = 0x83;
    // It ends in the middle of a tile: 2048 + 4 tiles and a half.
    let blocks = (4 * TILE + TILE / 2) as u32 / 512;
    disk[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    disk[446 + 12..446 + 16].copy_from_slice(&blocks.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk.extend_from_slice(&maker.bytes);
    for tile in 4..9_u32 {
        let round = maker.round + 1;
        let mut text = format!("\nLinux blockconsole version 1.1\n0badcafe\n{round:08x}\n{tile:08x}\n");
        text.push_str(&format!("[    0.000000] INFO  blockconsole: tile {tile} round {round} boot 99\n"));
        while text.len() < TILE - 100 {
            text.push_str("[    1.000000] ERROR BEYOND: the end\n");
        }
        text.push_str(&crash_record(9, "panic: BEYOND", &[]));
        let mut bytes = text.into_bytes();
        bytes.resize(TILE, 0);
        disk.extend(bytes);
    }
    let path = folder.write("disk.img", &disk);
    for (command, more) in [
        ("list", &[][..]),
        ("list", &["--output=json"]),
        ("cat", &[]),
        ("cat", &["--raw"]),
        ("cat", &["--output=journal"]),
        ("cat", &["--uuid=0badcafe", "--boot=last"]),
        ("tail", &["-n", "100000"]),
        ("crash", &[]),
        ("crash", &["--output=json"]),
        ("verify", &[]),
    ] {
        let (status, out, errors) = text(&run(command, &path, more));
        assert_eq!(status, Some(0), "{command} {more:?}: {errors}");
        assert!(!format!("{out}{errors}").contains("BEYOND"), "{command} {more:?}");
        assert!(!out.contains("boot 99") && !out.is_empty(), "{command} {more:?}");
    }
}

/// Constant memory, whatever a disk claims: a GiB, of which each tile is of another round.
#[test]
fn memory_is_bounded() {
    let folder = Folder::new("memory");
    let path = folder.file("disk.img");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    for tile in 0..1000_u64 {
        let round = if tile == 0 { 1 << 20 } else { (1 << 20) - tile };
        let of_text = round - tile % 2;
        let mut block = format!(
            "\nLinux blockconsole version 1.1\n0badcafe\n{round:08x}\n{tile:08x}\n\
             [    0.500000] INFO  blockconsole: tile {tile} round {of_text} boot {round} kept {tile},{}\n",
            tile / 2
        )
        .into_bytes();
        block.resize(511, b' ');
        block.push(b'\n');
        std::os::unix::fs::FileExt::write_all_at(&file, &block, tile << 20).unwrap();
    }
    for arguments in ["list", "tail -n 3", "cat --boot last", "crash --boot last"] {
        // Of address space, which is more than what is used of it.
        let line = format!("ulimit -v 600000; exec '{}' {arguments} '{}'", env!("CARGO_BIN_EXE_bcon"), path.display());
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        let (status, out, errors) = text(&output);
        assert!(matches!(status, Some(0 | 1 | 3)), "{arguments}: {status:?} {errors}");
        assert!(out.len() < 1 << 20, "{arguments}");
    }
}
