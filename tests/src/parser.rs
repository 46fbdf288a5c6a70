//! A reader of consoles of our own, byte by byte, from FORMAT.md alone.

/// Bytes a tile.
const TILE: usize = 1 << 20;
/// Bytes of a tile's header.
const HEADER: usize = 59;
/// The least unit that is written, and that padding fills up.
const SECTOR: usize = 512;

/// Uuid and round of a tile's header.
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

/// The text of a console without kept crash records, oldest first, to the byte.
pub fn text(image: &[u8]) -> Vec<u8> {
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
    let mut text = Text(Vec::new());
    for (index, (round, position)) in found.iter().enumerate() {
        text.take(tiles[*position]);
        let next = (position + 1) % tiles.len();
        let follower = found.get(index + 1);
        let goes_on = follower == Some(&(round + u32::from(next == 0), next)) && !begins_boot(tiles[next]);
        if !goes_on {
            text.end_line();
        }
    }
    text.0
}

/// Whether a tile begins with the first line of a boot, which no line of the boot before goes on in.
fn begins_boot(tile: &[u8]) -> bool {
    let first = tile[HEADER..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.windows(27).any(|words| words == b"] INFO  blockconsole: boot ")
}

struct Text(Vec<u8>);

impl Text {
    fn take(&mut self, tile: &[u8]) {
        for (at, byte) in tile.iter().enumerate().skip(HEADER) {
            let is_sector_end = at % SECTOR == SECTOR - 1;
            match byte {
                0 => self.end_line(),
                // Padding: spaces, and a newline in a sector's last byte.
                b'\n' if is_sector_end && matches!(tile[at - 1], b' ' | b'\n') => {
                    while self.0.last() == Some(&b' ') {
                        self.0.pop();
                    }
                    self.end_line();
                }
                other => self.0.push(*other),
            }
        }
    }

    fn end_line(&mut self) {
        if self.0.last().is_some_and(|last| *last != b'\n') {
            self.0.push(b'\n');
        }
    }
}

/// An image damaged in twenty ways, and what was done to it. Its tiles 0 to 2 or more are of the newest round, its last one is
/// of the round before.
pub fn damaged(sound: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut ways: Vec<(String, Vec<u8>)> = Vec::new();
    let mut way = |what: String, damage: &dyn Fn(&mut Vec<u8>)| {
        let mut image = sound.to_vec();
        damage(&mut image);
        ways.push((what, image));
    };
    let last = sound.len() / TILE - 1;
    for tile in [1, last] {
        let at = tile * TILE;
        way(format!("magic of tile {tile}"), &|image| image[at + 5] ^= 1);
        way(format!("uuid of tile {tile}"), &|image| image[at + 33] = if image[at + 33] == b'1' { b'2' } else { b'1' });
        way(format!("uuid of tile {tile} is no number"), &|image| image[at + 33] = b'x');
        way(format!("round of tile {tile} is far off"), &|image| image[at + 42..at + 44].copy_from_slice(b"77"));
        way(format!("number of tile {tile}"), &|image| image[at + 57] = b'9');
        way(format!("header of tile {tile} is gone"), &|image| image[at..at + HEADER].fill(0));
        way(format!("tile {tile} is gone"), &|image| image[at..at + TILE].fill(0));
        way(format!("a block in tile {tile} is gone"), &|image| image[at + 4096..at + 8192].fill(0));
        way(format!("the end of tile {tile} is gone"), &|image| image[at + TILE - 4096..at + TILE].fill(0));
    }
    way("other text".to_owned(), &|image| image[TILE + 1000..TILE + 1700].fill(b'X'));
    way("half a tile is missing at the end".to_owned(), &|image| image.truncate((last + 1) * TILE - TILE / 2));
    assert_eq!(ways.len(), 20);
    ways
}
