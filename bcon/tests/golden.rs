//! Images whole and damaged, read by the program and by a parser of our own.

mod common;
#[allow(unreachable_pub, reason = "it is public for the tests of guests")]
#[path = "../../tests/src/parser.rs"]
mod parser;

use common::{Folder, Maker, Writer, bcon};

/// What the program prints must be what the parser reads, byte by byte. Returns it.
fn compare(folder: &Folder, what: &str, image: &[u8]) -> Vec<u8> {
    let path = folder.write("disk.img", image);
    let output = bcon(["cat", path.to_str().unwrap()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(0) && !errors.contains("panicked"), "{what}: {errors}");
    let (own, program) = (parser::text(image), output.stdout);
    if own != program {
        let at = own.iter().zip(&program).take_while(|(one, other)| one == other).count();
        let around = |text: &[u8]| {
            String::from_utf8_lossy(&text[at.saturating_sub(40).min(text.len())..text.len().min(at + 40)]).into_owned()
        };
        panic!("{what}: byte {at} of {} and {}: {:?}, {:?}", own.len(), program.len(), around(&own), around(&program));
    }
    own
}

/// A disk on which boots were logged until this tile of this round, and a bit.
fn filled(writer: Writer, block: usize, tiles: usize, (round, tile): (u32, usize)) -> Maker {
    let mut maker = Maker::new(writer, tiles, block);
    maker.boot();
    while (maker.round, maker.tile) != (round, Some(tile)) {
        maker.lines(maker.number..maker.number + 200);
        // Padding in the middle of the log, which stays or is written over.
        if maker.number.is_multiple_of(1000) {
            maker.pad();
        } else {
            maker.pad_for_now();
        }
    }
    maker.lines(maker.number..maker.number + 40);
    maker.pad();
    maker.boot();
    maker.lines(maker.number..maker.number + 300);
    maker.crash(1, "panic: golden", &["cpu: 0"]);
    maker
}

#[test]
fn sound_images_are_read_alike() {
    let folder = Folder::new("golden-sound");
    for block in [512, 4096] {
        assert_eq!(compare(&folder, "fresh", &Maker::new(Writer::Ours, 4, block).bytes), b"");
        for (what, place) in [("filling", (0, 2)), ("full", (0, 3)), ("wrapped", (1, 1)), ("wrapped again", (2, 3))] {
            let maker = filled(Writer::Ours, block, 6, place);
            let text = compare(&folder, what, &maker.bytes);
            assert!(text == maker.expected().as_bytes(), "{what}: neither reads what was written");
        }
    }
}

#[test]
fn what_the_linux_driver_wrote_is_read_alike() {
    let folder = Folder::new("golden-linux");
    let mut maker = Maker::new(Writer::Linux, 8, 512);
    maker.boot();
    maker.lines(0..30_000);
    assert!(compare(&folder, "filling", &maker.bytes).len() > 1 << 20);
    // Wrapped: wrong tile numbers, stale text behind the newest, and a boot of its own afterwards.
    for boots in 1..=2_usize {
        maker.lines(0..120_000);
        // Damage is to strike tiles of both rounds.
        while !(4..6).contains(&maker.tile.unwrap()) {
            maker.lines(0..1000);
        }
        maker.pad();
        assert!(maker.round as usize >= boots);
        let text = compare(&folder, "wrapped", &maker.bytes);
        assert!(text.len() > 5 << 20);
        for (what, image) in parser::damaged(&maker.bytes) {
            compare(&folder, &format!("Linux, {what}"), &image);
        }
        maker.boot();
    }
}

#[test]
fn images_that_are_damaged_in_twenty_ways_are_read_alike() {
    let folder = Folder::new("golden-damaged");
    for block in [512, 4096] {
        let sound = filled(Writer::Ours, block, 8, (1, 4)).bytes;
        let all = compare(&folder, "sound", &sound).len();
        for (what, image) in parser::damaged(&sound) {
            let len = compare(&folder, &what, &image).len();
            assert!(len > all / 2, "{what}: {len} of {all} bytes");
        }
    }
}
