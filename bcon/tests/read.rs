//! Reading whole disks: fresh, half full, wrapped, by either writer.
#![forbid(unsafe_code)]

mod common;

use common::{Folder, HEADER, Maker, TILE, Writer, bcon, bcon_ok, numbered};

fn cat(folder: &Folder, maker: &Maker) -> String {
    let path = folder.write("disk.img", &maker.bytes);
    bcon_ok(0, ["cat".as_ref(), path.as_os_str()])
}

#[test]
fn a_fresh_disk_is_empty_whatever_it_held_before() {
    let folder = Folder::new("fresh");
    for tiles in [1, 2, 3, 9] {
        assert_eq!(cat(&folder, &Maker::new(Writer::Ours, tiles, 512)), "");
    }
}

#[test]
fn lines_come_out_as_they_went_in() {
    let folder = Folder::new("mid");
    for block in [512, 4096] {
        let mut maker = Maker::new(Writer::Ours, 8, block);
        maker.boot();
        for part in 0..40 {
            maker.lines(part * 100..part * 100 + 97 - part);
            maker.pad();
        }
        assert_eq!(cat(&folder, &maker), maker.expected());
        let text = maker.expected();
        assert!(text.contains("boot 1 of 0badcafe") && text.contains(&numbered(3956)));
    }
}

#[test]
fn a_pad_of_any_length_leaves_no_trace() {
    let folder = Folder::new("pads");
    for block in [512, 4096] {
        let mut maker = Maker::new(Writer::Ours, 8, block);
        maker.boot();
        for len in 1..=600 {
            maker.line(&"y".repeat(len));
            maker.pad();
        }
        assert_eq!(cat(&folder, &maker), maker.expected());
    }
}

#[test]
fn a_pad_in_the_middle_of_a_line_ends_the_line() {
    let folder = Folder::new("midline");
    let mut maker = Maker::new(Writer::Linux, 4, 512);
    maker.boot();
    for len in [1, 100, 451, 452, 453, 511, 512, 513, 1024] {
        maker.text("z".repeat(len).as_bytes());
        maker.pad();
        maker.text(b"next line\n");
        maker.pad();
    }
    assert_eq!(cat(&folder, &maker), maker.expected());
}

#[test]
fn wrapped_logs_come_oldest_first_and_lines_go_on_across_tiles() {
    let folder = Folder::new("wrapped");
    for writer in [Writer::Ours, Writer::Linux] {
        for tiles in [2, 3, 5] {
            let mut maker = Maker::new(writer, tiles, 512);
            let mut number = 0;
            for boot in 0..3 {
                maker.boot();
                for _ in 0..(tiles + boot) * 7 {
                    maker.lines(number..number + 1500);
                    number += 1500;
                }
                // Linux leaves what stood behind the end of the text; so there is to be no such end.
                if writer == Writer::Linux {
                    maker.fill_to(0)
                } else {
                    maker.pad()
                }
                let text = cat(&folder, &maker);
                assert!(text == maker.expected(), "{writer:?}, {tiles} tiles, boot {boot}");
                // Every line but the first, which may lack its beginning, is whole.
                let whole = text.lines().skip(1).filter(|line| line.contains("app::part"));
                assert!(whole.clone().count() > 1000);
                for line in whole {
                    let number = line.split("line ").nth(1).unwrap()[..7].parse().unwrap();
                    assert_eq!(line, numbered(number));
                }
            }
        }
    }
}

#[test]
fn a_boot_ends_the_line_that_the_boot_before_left_open() {
    let folder = Folder::new("open");
    let mut maker = Maker::new(Writer::Ours, 8, 512);
    maker.boot();
    maker.fill_to(30);
    // Filled to the last byte, and cut there by a power failure.
    maker.text(b"[    9.100000] INFO  app: cut o");
    maker.text(b"ff\n");
    maker.texts.get_mut(&1).unwrap().1.push(b'\n');
    let tile = maker.tile.unwrap();
    maker.texts.remove(&tile);
    maker.tile = Some(tile - 1);
    maker.boot();
    maker.line("[    0.100000] INFO  app: new");
    assert_eq!(cat(&folder, &maker), maker.expected());
}

#[test]
fn an_unfinished_line_at_the_end_is_ended() {
    let folder = Folder::new("unfinished");
    let mut maker = Maker::new(Writer::Ours, 8, 512);
    maker.boot();
    maker.text(b"[    0.100000] INFO  app: half a li");
    assert_eq!(cat(&folder, &maker), format!("{}\n", maker.expected()));
}

#[test]
fn the_next_tile_may_be_erased_already() {
    let folder = Folder::new("erased");
    for block in [512, 4096] {
        let mut maker = Maker::new(Writer::Ours, 4, block);
        maker.boot();
        for _ in 0..6 {
            maker.lines(0..10_000);
        }
        assert!(maker.round > 0);
        let next = (maker.tile.unwrap() + 1) % 4;
        assert_ne!(next, 0);
        maker.bytes[next * TILE + block..(next + 1) * TILE].fill(0);
        let text = &mut maker.texts.get_mut(&next).unwrap().1;
        text.truncate(block - HEADER);
        text.push(b'\n');
        assert_eq!(cat(&folder, &maker), maker.expected());
    }
}

#[test]
fn raw_gives_the_bytes_of_the_tiles_in_order() {
    let folder = Folder::new("raw");
    let mut maker = Maker::new(Writer::Ours, 3, 512);
    maker.boot();
    for _ in 0..4 {
        maker.lines(0..10_000);
    }
    let path = folder.write("disk.img", &maker.bytes);
    let newest = maker.tile.unwrap();
    let order = (1..=3).map(|step| (newest + step) % 3);
    let expected: Vec<u8> = order.flat_map(|tile| maker.bytes[tile * TILE..][..TILE].to_vec()).collect();
    let output = bcon(["cat".as_ref(), path.as_os_str(), "--raw".as_ref()]);
    assert!(output.status.success() && output.stdout == expected);
}

#[test]
fn carried_crash_records_come_first_and_lines_go_on_around_them() {
    let folder = Folder::new("carried");
    let mut maker = Maker::new(Writer::Ours, 8, 512);
    maker.boot();
    maker.lines(0..50);
    maker.crash(1, "panic: the first", &[]);
    maker.kept = vec![1];
    maker.boot();
    for part in 0..9 {
        maker.lines(part * 10_000..(part + 1) * 10_000);
    }
    assert_eq!(maker.round, 1);
    assert!(maker.tile.unwrap() > 1);
    let text = cat(&folder, &maker);
    assert!(text == maker.expected());
    assert!(text.starts_with("[    0.000000] INFO  blockconsole: boot 1 of"));
    // Also when no boot keeps it any more, and only its own tile line tells.
    let path = folder.file("disk.img");
    let list: serde_json::Value =
        serde_json::from_str(&bcon_ok(0, ["list".as_ref(), path.as_os_str(), "--output=json".as_ref()])).unwrap();
    assert_eq!((&list[0]["kept_tiles"], &list[0]["kept_boots"]), (&serde_json::json!([1]), &serde_json::json!([1])));
    assert!(bcon_ok(0, ["list".as_ref(), path.as_os_str()]).contains(" 1,2 "));
    maker.kept = vec![];
    maker.boot();
    assert!(cat(&folder, &maker) == maker.expected());
}

#[test]
fn a_carried_tile_may_be_the_last_that_was_entered() {
    let folder = Folder::new("carriedlast");
    let mut maker = Maker::new(Writer::Ours, 8, 512);
    maker.boot();
    maker.boot();
    maker.crash(1, "panic: kept", &[]);
    maker.kept = vec![2];
    maker.boot();
    while maker.round == 0 || maker.tile < Some(1) {
        maker.lines(maker.number..maker.number + 500);
    }
    // The power went off between the carried tile's new header and the tile behind it.
    maker.put_header(2, 1, 2);
    assert!(cat(&folder, &maker) == maker.expected());
    let path = folder.file("disk.img");
    assert!(bcon_ok(0, ["list".as_ref(), path.as_os_str()]).contains(" 2,3 "));
    assert_eq!(bcon_ok(0, ["tail".as_ref(), path.as_os_str(), "-n1".as_ref()]).lines().count(), 1);
}

#[test]
fn a_console_in_a_partition_or_a_file_of_one_is_found() {
    let folder = Folder::new("partition");
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    maker.lines(0..100);
    for (block, first) in [(512, 2048), (4096, 256)] {
        let mut disk = vec![0; first * block + maker.bytes.len() + TILE];
        disk[446 + 4] = 0x83;
        disk[446 + 8..446 + 12].copy_from_slice(&(first as u32).to_le_bytes());
        disk[446 + 12..446 + 16].copy_from_slice(&((maker.bytes.len() / block) as u32).to_le_bytes());
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        disk[first * block..][..maker.bytes.len()].copy_from_slice(&maker.bytes);
        let path = folder.write("disk.img", &disk);
        assert_eq!(bcon_ok(0, ["cat".as_ref(), path.as_os_str()]), maker.expected());
        assert_eq!(bcon_ok(0, ["cat".as_ref(), path.as_os_str(), "--partition=1".as_ref()]), maker.expected());
        assert_eq!(bcon(["cat".as_ref(), path.as_os_str(), "--partition=2".as_ref()]).status.code(), Some(3));
        assert!(bcon_ok(0, ["list".as_ref(), path.as_os_str()]).contains("disk.img partition 1  0badcafe"));
    }
}

#[test]
fn standard_input_may_be_a_file_or_a_pipe() {
    use std::process::{Command, Stdio};
    let folder = Folder::new("stdin");
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    maker.lines(0..30_000);
    let path = folder.write("disk.img", &maker.bytes);
    let mut cat = Command::new("cat").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    let pipe = Stdio::from(cat.stdout.take().unwrap());
    for input in [Stdio::from(std::fs::File::open(&path).unwrap()), pipe] {
        let output = Command::new(env!("CARGO_BIN_EXE_bcon")).args(["cat", "-"]).stdin(input).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == maker.expected().as_bytes());
    }
    assert!(cat.wait().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::io::Read;
    use std::process::{Command, Stdio};
    let folder = Folder::new("pipe");
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    maker.lines(0..20_000);
    let path = folder.write("disk.img", &maker.bytes);
    for more in [&["--color=never"][..], &["--level=info"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bcon"))
            .arg("cat")
            .arg(&path)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut start = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut start).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn the_original_reader_finds_the_same_end() {
    // As the original's own script: 32 bytes of magic, halving by the first 50 bytes, the last tiles as they are.
    let folder = Folder::new("original");
    for (tiles, lines) in [(4, 1000), (5, 30_000), (5, 90_000), (16, 200_000)] {
        let mut maker = Maker::new(Writer::Ours, tiles, 512);
        maker.boot();
        maker.lines(0..lines);
        let reference = &maker.bytes[..50];
        assert_eq!(&reference[..32], b"\nLinux blockconsole version 1.1\n");
        let (mut low, mut high) = (0, tiles);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if &maker.bytes[middle * TILE..][..50] == reference { low = middle } else { high = middle }
        }
        assert_eq!(Some(low), maker.tile);
        let path = folder.write("disk.img", &maker.bytes);
        let raw = bcon(["cat".as_ref(), path.as_os_str(), "--raw".as_ref()]).stdout;
        let copied = (low + 1).min(16) * TILE;
        assert!(raw.ends_with(&maker.bytes[(low + 1) * TILE - copied..(low + 1) * TILE]));
    }
}
