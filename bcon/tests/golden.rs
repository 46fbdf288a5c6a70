//! Images whole and damaged, read by the program and by a parser of our own.

mod common;

use common::{Folder, HEADER, Maker, TILE, Writer, bcon};

/// Uuid and round of a tile's header, in the words of FORMAT.md, section 2.
fn header(tile: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(tile.get(..HEADER)?).ok()?;
    let numbers = text.strip_prefix("\nLinux blockconsole version 1.1\n")?.strip_suffix('\n')?;
    let mut numbers = numbers.split('\n').map(|digits| {
        let is_hex = digits.len() == 8 && digits.bytes().all(|digit| b"0123456789abcdef".contains(&digit));
        is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    });
    let (uuid, round, _) = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some((uuid, round))
}

/// The lines of a console, oldest first: section 7 and nothing else. What is not written is zero and ends a line, and so does a
/// tile that is not followed by the next. Trailing spaces are padding.
fn lines(image: &[u8]) -> Vec<String> {
    let tiles: Vec<&[u8]> = image.chunks_exact(TILE).collect();
    let Some((uuid, newest)) = tiles.first().and_then(|tile| header(tile)) else { return Vec::new() };
    let headers: Vec<_> = tiles.iter().map(|tile| header(tile)).collect();
    let last = headers.iter().rposition(|header| *header == Some((uuid, newest))).unwrap_or(0);
    let mut found: Vec<(u32, usize)> = Vec::new();
    for (position, header) in headers.iter().enumerate() {
        // Of a header that cannot be read, the place tells the round, among those that surely are of the newest. One of another
        // console or round tells that the tile is not ours.
        let by_place = if position <= last { Some(newest) } else { newest.checked_sub(1) };
        let is_ours = match header {
            Some((own, round)) => *own == uuid && Some(*round) == by_place,
            None => position <= last,
        };
        found.extend(by_place.filter(|_| is_ours).map(|round| (round, position)));
    }
    found.sort_unstable();
    let mut text = Vec::new();
    for (index, (round, position)) in found.iter().enumerate() {
        text.extend(tiles[*position][HEADER..].iter().map(|byte| if *byte == 0 { b'\n' } else { *byte }));
        let next = (position + 1) % tiles.len();
        let goes_on = found.get(index + 1) == Some(&(round + u32::from(next == 0), next));
        if !goes_on {
            text.push(b'\n');
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// The same by the program.
fn by_the_program(folder: &Folder, image: &[u8]) -> Vec<String> {
    let path = folder.write("disk.img", image);
    let output = bcon(["cat", path.to_str().unwrap()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(0) && !errors.contains("panicked"), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn compare(folder: &Folder, what: &str, image: &[u8]) -> usize {
    let (own, program) = (lines(image), by_the_program(folder, image));
    if let Some(at) = (0..own.len().max(program.len())).find(|at| own.get(*at) != program.get(*at)) {
        panic!(
            "{what}: line {at} of {} is {:?}, and of {} {:?}",
            own.len(),
            own.get(at),
            program.len(),
            program.get(at)
        );
    }
    own.len()
}

/// A disk on which boots were logged until this tile of this round, and a bit.
fn filled(writer: Writer, tiles: usize, round: u32, tile: usize) -> Maker {
    let mut maker = Maker::new(writer, tiles, 512);
    maker.boot();
    while (maker.round, maker.tile) != (round, Some(tile)) {
        maker.lines(maker.number..maker.number + 200);
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
    assert_eq!(compare(&folder, "fresh", &Maker::new(Writer::Ours, 4, 512).bytes), 0);
    for (what, round, tile) in [("filling", 0, 2), ("full", 0, 3), ("wrapped", 1, 1), ("wrapped again", 2, 3)] {
        let maker = filled(Writer::Ours, 6, round, tile);
        let count = compare(&folder, what, &maker.bytes);
        assert_eq!(count, maker.expected().lines().filter(|line| !line.trim().is_empty()).count(), "{what}");
    }
}

#[test]
fn what_the_linux_driver_wrote_is_read_alike() {
    let folder = Folder::new("golden-linux");
    let mut maker = Maker::new(Writer::Linux, 6, 512);
    maker.boot();
    maker.lines(0..30_000);
    assert!(compare(&folder, "filling", &maker.bytes) >= 20_000);
}

#[test]
fn images_that_are_damaged_in_twenty_ways_are_read_alike() {
    let folder = Folder::new("golden-damaged");
    let sound = filled(Writer::Ours, 8, 1, 4).bytes;
    let all = compare(&folder, "sound", &sound);
    let mut ways: Vec<(String, Vec<u8>)> = Vec::new();
    let mut way = |what: String, damage: &dyn Fn(&mut Vec<u8>)| {
        let mut image = sound.clone();
        damage(&mut image);
        ways.push((what, image));
    };
    for tile in [2, 7] {
        let at = tile * TILE;
        way(format!("magic of tile {tile}"), &|image| image[at + 5] ^= 1);
        way(format!("uuid of tile {tile}"), &|image| image[at + 33] ^= 1);
        way(format!("uuid of tile {tile} is no number"), &|image| image[at + 33] = b'x');
        way(format!("round of tile {tile} is far off"), &|image| image[at + 42..at + 44].copy_from_slice(b"77"));
        way(format!("number of tile {tile}"), &|image| image[at + 57] = b'9');
        way(format!("header of tile {tile} is gone"), &|image| image[at..at + HEADER].fill(0));
        way(format!("tile {tile} is gone"), &|image| image[at..at + TILE].fill(0));
        way(format!("a block in tile {tile} is gone"), &|image| image[at + 4096..at + 4608].fill(0));
        way(format!("the end of tile {tile} is gone"), &|image| image[at + TILE - 2048..at + TILE].fill(0));
    }
    way("other text".to_owned(), &|image| image[3 * TILE + 1000..3 * TILE + 1700].fill(b'X'));
    way("half a tile is missing at the end".to_owned(), &|image| image.truncate(8 * TILE - TILE / 2));
    assert_eq!(ways.len(), 20);
    for (what, image) in &ways {
        let count = compare(&folder, what, image);
        assert!(count > all / 2, "{what}: {count} of {all} lines");
    }
}
