//! Damaged disks: what can be read is read, and `verify` says what is wrong.
#![forbid(unsafe_code)]

mod common;

use common::{Folder, Maker, TILE, Writer, bcon, bcon_ok};
use serde_json::Value;

/// A disk of 8 tiles in its second round, with tiles 0 to 3 of round 1.
fn sample(writer: Writer) -> Maker {
    wrapped(writer, 8, 3)
}

fn wrapped(writer: Writer, tiles: usize, newest: usize) -> Maker {
    let mut maker = Maker::new(writer, tiles, 512);
    maker.boot();
    while maker.round == 0 || maker.tile < Some(newest) {
        maker.lines(maker.number..maker.number + 500);
    }
    maker.fill_to(4000);
    maker.crash(7, "panic: told you", &["frame 0: 0x1"]);
    maker
}

fn verify(folder: &Folder, bytes: &[u8], status: i32) -> Vec<(bool, Option<u64>, String)> {
    let path = folder.write("disk.img", bytes);
    let text = bcon_ok(status, ["verify".as_ref(), path.as_os_str(), "--output=json".as_ref()]);
    let value: Value = serde_json::from_str(&text).unwrap();
    let findings = value[0]["findings"].as_array().unwrap().iter();
    findings
        .map(|f| (f["damage"].as_bool().unwrap(), f["byte"].as_u64(), f["what"].as_str().unwrap().to_owned()))
        .collect()
}

fn cat(folder: &Folder, bytes: &[u8]) -> String {
    let path = folder.write("disk.img", bytes);
    String::from_utf8(bcon(["cat".as_ref(), path.as_os_str()]).stdout).unwrap()
}

#[test]
fn an_undamaged_disk_is_clean() {
    let folder = Folder::new("clean");
    assert_eq!(verify(&folder, &sample(Writer::Ours).bytes, 0), []);
    let fresh = Maker::new(Writer::Ours, 8, 512);
    assert_eq!(verify(&folder, &fresh.bytes, 0), []);
}

#[test]
fn a_tile_that_is_being_erased_is_no_damage_unless_it_is_another() {
    let folder = Folder::new("erased");
    // Tile 4 comes next. Its first block stays until the log gets there.
    for (tile, damaged) in [(4, false), (5, true), (2, true)] {
        let mut maker = sample(Writer::Ours);
        maker.bytes[tile * TILE + 512..][..64 << 10].fill(0);
        let findings = verify(&folder, &maker.bytes, i32::from(damaged));
        assert_eq!(findings.len(), 1, "{findings:?}");
        let (is_damage, byte, what) = &findings[0];
        assert_eq!((*is_damage, *byte), (damaged, Some((tile * TILE + 512) as u64)), "{what}");
    }
}

#[test]
fn times_of_what_was_saved_from_the_boot_before_are_no_damage() {
    let folder = Folder::new("saved");
    let mut maker = Maker::new(Writer::Ours, 8, 512);
    maker.boot();
    maker.line("[    0.000000] WARN  kernel: recovered: what the boot of then could not write follows");
    maker.line("[   70.000000] INFO  app: last words");
    maker.line("[    0.000000] WARN  kernel: recovered: 1 lines, 0 were lost; this boot follows");
    maker.line("[    0.100000] INFO  app: first words");
    maker.pad();
    assert_eq!(verify(&folder, &maker.bytes, 0), []);

    // The same words of somebody else say nothing.
    maker.line("[   70.000000] INFO  app: later");
    maker.line("[    0.000000] WARN  app: recovered: 1 lines, 0 were lost; this boot follows");
    maker.pad();
    assert!(verify(&folder, &maker.bytes, 1)[0].2.contains("time goes back"));
}

#[test]
fn linux_tile_numbers_are_no_damage() {
    let folder = Folder::new("linux");
    let mut maker = Maker::new(Writer::Linux, 8, 512);
    maker.boot();
    maker.lines(0..30_000);
    maker.fill_to(0);
    let findings = verify(&folder, &maker.bytes, 0);
    assert_eq!(findings.len(), 1);
    assert!(!findings[0].0 && findings[0].2.contains("as Linux writes them"));
}

#[test]
fn a_stale_tail_of_linux_is_named() {
    let folder = Folder::new("stale");
    let mut maker = Maker::new(Writer::Linux, 3, 512);
    maker.boot();
    for part in 0..6 {
        maker.lines(part * 10_000..part * 10_000 + 10_000);
    }
    maker.pad();
    assert!(maker.round > 0 && maker.at < TILE);
    let findings = verify(&folder, &maker.bytes, 1);
    assert!(findings.iter().any(|f| f.0 && f.2.contains("time goes back")), "{findings:?}");
    assert!(cat(&folder, &maker.bytes).contains(maker.expected().trim_end()));
}

/// Damages a header in some way, and says what must be found.
fn check_header(tile: usize, damage: impl Fn(&mut [u8]), words: &str, loses_text: bool) {
    let folder = Folder::new(&format!("header{tile}{}", words.len()));
    let mut maker = sample(Writer::Ours);
    damage(&mut maker.bytes[tile * TILE..]);
    let findings = verify(&folder, &maker.bytes, 1);
    let found = findings.iter().find(|f| f.2.contains(words));
    assert!(found.is_some_and(|f| f.0 && f.1 == Some((tile * TILE) as u64)), "{words}: {findings:?}");
    if loses_text {
        maker.texts.remove(&tile);
    }
    let text = cat(&folder, &maker.bytes);
    if loses_text {
        // Where the tile is missing, a line ends early.
        assert_eq!(text.replace('\n', ""), maker.expected().replace('\n', ""), "tile {tile}");
    } else {
        assert!(text == maker.expected(), "tile {tile}");
    }
}

#[test]
fn a_damaged_header_costs_nothing_but_itself() {
    for tile in [1, 2, 5, 6] {
        check_header(tile, |bytes| bytes[3] ^= 1, "has no header", false);
        check_header(tile, |bytes| bytes[..59].fill(0xFF), "has no header", false);
    }
}

#[test]
fn a_tile_of_another_console_or_round_is_left_out() {
    for tile in [1, 2, 5] {
        check_header(tile, |bytes| bytes[32..40].copy_from_slice(b"12345678"), "belongs to another console", true);
    }
    check_header(1, |bytes| bytes[41..49].copy_from_slice(b"00000000"), "has round 0 where 1 is expected", true);
}

#[test]
fn a_wrong_tile_number_is_named_and_not_believed() {
    check_header(2, |bytes| bytes[50..58].copy_from_slice(b"00000007"), "its header says tile 7", false);
}

#[test]
fn a_lost_first_header_is_no_end() {
    let folder = Folder::new("first");
    let mut maker = sample(Writer::Ours);
    maker.bytes[..59].fill(0);
    let text = cat(&folder, &maker.bytes);
    assert!(text == maker.expected());
    let findings = verify(&folder, &maker.bytes, 1);
    assert!(findings.iter().any(|f| f.2.contains("the kernel does not recognise the console")));
    // With nothing but noise behind it, there is no console.
    let mut fresh = Maker::new(Writer::Ours, 8, 512);
    fresh.bytes[..59].fill(0);
    let path = folder.write("disk.img", &fresh.bytes);
    bcon_ok(1, ["list".as_ref(), path.as_os_str()]);
    assert_eq!(bcon(["cat".as_ref(), path.as_os_str()]).status.code(), Some(3));
}

#[test]
fn a_hole_is_named_and_breaks_the_line() {
    let folder = Folder::new("hole");
    let mut maker = sample(Writer::Ours);
    let at = 2 * TILE + 512 * 100;
    maker.bytes[at..at + 1024].fill(0);
    let findings = verify(&folder, &maker.bytes, 1);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].1, Some(at as u64));
    assert!(findings[0].2.contains("1024 bytes were never written"));
    let text = cat(&folder, &maker.bytes);
    assert_eq!(text.len(), maker.expected().len() - 1024 + 1);
    assert!(!text.contains('\0'));
}

#[test]
fn control_characters_are_named() {
    let folder = Folder::new("control");
    for byte in [1, 0x1B, 0x7F] {
        let mut maker = sample(Writer::Ours);
        maker.bytes[2 * TILE + 5000] = byte;
        let findings = verify(&folder, &maker.bytes, 1);
        assert_eq!((findings.len(), findings[0].1), (1, Some((2 * TILE + 5000) as u64)));
    }
}

#[test]
fn lost_lines_are_noted() {
    let folder = Folder::new("lost");
    let mut maker = sample(Writer::Ours);
    for lost in [12, 30] {
        maker.line(&format!("[12345.900000] WARN  blockconsole: *** {lost} lines lost ***"));
    }
    let findings = verify(&folder, &maker.bytes, 0);
    assert!(findings.iter().any(|f| !f.0 && f.2.starts_with("42 lines were lost")), "{findings:?}");
}

#[test]
fn a_damaged_crash_record_is_named() {
    let folder = Folder::new("record");
    let mut maker = sample(Writer::Ours);
    let at = maker.bytes.windows(8).rposition(|window| window == b"told you").unwrap();
    maker.bytes[at] = b'T';
    let findings = verify(&folder, &maker.bytes, 1);
    assert!(findings[0].2.contains("crash record 0000000000000007 is damaged: its checksum"), "{findings:?}");
    let path = folder.file("disk.img");
    let output = bcon(["crash".as_ref(), path.as_os_str()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Told you"));
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    let folder = Folder::new("arbitrary");
    for seed in 0..24_u32 {
        let mut maker = wrapped(Writer::Ours, 4, 1);
        let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as usize
        };
        for _ in 0..1 + seed % 40 {
            // Mostly where structure is: headers, and the lines after them.
            let tile = next() % 4;
            let offset = if next() % 4 == 0 { next() % TILE } else { next() % 700 };
            let byte = if next() % 2 == 0 { next() as u8 } else { b"0123456789abcdef\n[ "[next() % 19] };
            maker.bytes[tile * TILE + offset] = byte;
        }
        // Some are cut as well.
        let len = maker.bytes.len() - if seed % 3 == 0 { next() % (2 * TILE) } else { 0 };
        let path = folder.write("disk.img", &maker.bytes[..len]);
        for args in [
            &["list"][..],
            &["list", "--output=json"],
            &["cat"],
            &["cat", "--output=json", "--level=warn"],
            &["cat", "--output=journal"],
            &["cat", "--boot=last"],
            &["cat", "--boot=1", "--color=always"],
            &["tail", "-n", "20"],
            &["crash"],
            &["crash", "--output=json"],
            &["verify"],
        ] {
            let output = bcon(args.iter().map(AsRef::as_ref).chain([path.as_os_str()]));
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0..=3)), "seed {seed}, {args:?}: {errors}");
            assert!(!errors.contains("panicked"), "seed {seed}, {args:?}: {errors}");
            assert!(output.stdout.len() < 64 << 20, "seed {seed}, {args:?}");
        }
    }
}
