//! Disks made from the format's description alone, and what must be read there.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of this")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const TILE: usize = 1 << 20;
pub const HEADER: usize = 59;
pub const UUID: u32 = 0x0bad_cafe;

/// A folder of its own for each test, removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bcon-test-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the program.
pub fn bcon<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bcon")).args(args).output().unwrap()
}

/// Runs the program, which must end with this status, and returns its output.
pub fn bcon_ok<S: AsRef<std::ffi::OsStr>>(status: i32, args: impl IntoIterator<Item = S>) -> String {
    let output = bcon(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}{}", String::from_utf8_lossy(&output.stdout));
    assert!(!errors.contains("panicked"), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Who wrote a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writer {
    /// A correct one: right tile numbers, erased tiles, boot and tile lines.
    Ours,
    /// The Linux driver: N-1 in tiles entered at run time, tiles not erased, no lines of its own.
    Linux,
}

/// A disk in the making.
pub struct Maker {
    pub bytes: Vec<u8>,
    pub writer: Writer,
    /// Block size of the disk: what a pad fills up.
    pub block: usize,
    pub round: u32,
    /// The tile that is written to; `None` before the first boot.
    pub tile: Option<usize>,
    /// Bytes of it that are written.
    pub at: usize,
    pub boot: u32,
    /// The text of each tile, pads left out.
    pub texts: BTreeMap<usize, (u32, Vec<u8>)>,
    in_line: bool,
    needs_tile_line: bool,
    /// The number after that of the last numbered line.
    pub number: u32,
    /// Crash records that tile lines say are kept, and the tiles that are passed over.
    pub kept: Vec<usize>,
}

impl Maker {
    /// A freshly formatted disk of so many tiles. Beyond the first, there is noise from its former life.
    pub fn new(writer: Writer, tiles: usize, block: usize) -> Self {
        let mut bytes = noise(tiles * TILE);
        bytes[..TILE].fill(0);
        let mut maker = Self {
            bytes,
            writer,
            block,
            round: 0,
            tile: None,
            at: TILE,
            boot: 0,
            texts: BTreeMap::new(),
            in_line: false,
            needs_tile_line: false,
            number: 0,
            kept: vec![],
        };
        maker.put_header(0, 0, 0);
        maker.bytes[HEADER..511].fill(b' ');
        maker.bytes[511] = b'\n';
        maker
    }

    pub fn tiles(&self) -> usize {
        self.bytes.len() / TILE
    }

    pub fn put_header(&mut self, tile: usize, round: u32, number: usize) {
        let header = format!("\nLinux blockconsole version 1.1\n{UUID:08x}\n{round:08x}\n{number:08x}\n");
        assert_eq!(header.len(), HEADER);
        self.bytes[tile * TILE..][..HEADER].copy_from_slice(header.as_bytes());
    }

    /// Enters the next tile.
    fn enter(&mut self, at_mount: bool) {
        let mut tile = match self.tile {
            None => 1 % self.tiles(),
            Some(tile) => (tile + 1) % self.tiles(),
        };
        loop {
            if tile == 0 {
                self.round += 1;
            }
            if !self.kept.contains(&tile) {
                break;
            }
            // Carried: a new header, the old text.
            self.put_header(tile, self.round, tile);
            tile = (tile + 1) % self.tiles();
        }
        self.tile = Some(tile);
        if self.writer == Writer::Ours || at_mount {
            self.bytes[tile * TILE..][..TILE].fill(0);
        }
        let number = if self.writer == Writer::Linux && !at_mount { tile.wrapping_sub(1) & 0xffff_ffff } else { tile };
        self.put_header(tile, self.round, number);
        self.at = HEADER;
        self.texts.insert(tile, (self.round, vec![]));
    }

    /// Boots: enters the next tile, with the lines that a console writes there.
    pub fn boot(&mut self) {
        self.boot += 1;
        self.in_line = false;
        self.enter(true);
        if self.writer == Writer::Ours {
            self.needs_tile_line = true;
            let boot = self.boot;
            self.line(&format!(
                "[    0.000000] INFO  blockconsole: boot {boot} of {UUID:08x}: blockconsole 0.1.0 build 00ff at 2026-01-0{}T00:00:00Z",
                boot.min(9)
            ));
        }
    }

    /// Writes a line.
    pub fn line(&mut self, line: &str) {
        self.text(format!("{line}\n").as_bytes());
        if std::mem::take(&mut self.needs_tile_line) {
            let (tile, round, boot) = (self.tile.unwrap(), self.round, self.boot);
            let kept = self.kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let kept = if kept.is_empty() { kept } else { format!(" kept {kept}") };
            self.text(
                format!("[    0.500000] INFO  blockconsole: tile {tile} round {round} boot {boot}{kept}\n").as_bytes(),
            );
        }
    }

    /// Writes numbered lines that tell their own number.
    pub fn lines(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.line(&numbered(number));
            self.number = number + 1;
        }
    }

    /// Writes text, which may go on in the next tile.
    pub fn text(&mut self, mut text: &[u8]) {
        while !text.is_empty() {
            if self.at == TILE {
                self.enter(false);
                self.needs_tile_line |= self.writer == Writer::Ours;
            }
            let len = text.len().min(TILE - self.at);
            let tile = self.tile.unwrap();
            self.bytes[tile * TILE + self.at..][..len].copy_from_slice(&text[..len]);
            self.texts.get_mut(&tile).unwrap().1.extend_from_slice(&text[..len]);
            self.at += len;
            text = &text[len..];
        }
    }

    /// Writes out early: fills the block up. In the middle of a line this ends the line.
    pub fn pad(&mut self) {
        let tile = self.tile.unwrap();
        let end = self.at.next_multiple_of(self.block);
        if end > self.at {
            self.bytes[tile * TILE + self.at..tile * TILE + end - 1].fill(b' ');
            self.bytes[tile * TILE + end - 1] = b'\n';
            let text = &mut self.texts.get_mut(&tile).unwrap().1;
            if text.last() != Some(&b'\n') {
                text.push(b'\n');
            }
            self.at = end;
        }
    }

    /// Pads, but goes on in the pad's place afterwards, as a console does that has more text for the block.
    pub fn pad_for_now(&mut self) {
        let at = self.at;
        self.pad();
        self.at = at;
    }

    /// Fills lines in until so many bytes are left in the tile.
    pub fn fill_to(&mut self, left: usize) {
        while TILE - self.at > left + 200 {
            self.lines(self.number..self.number + 1);
        }
        let prefix = format!("[{:12.6}] INFO  fill: ", f64::from(self.number) / 1000.0);
        let len = (TILE - self.at).saturating_sub(left + prefix.len() + 1);
        self.text(format!("{prefix}{}\n", "x".repeat(len)).as_bytes());
        assert_eq!(TILE - self.at, left);
    }

    /// A crash record, and its text.
    pub fn crash(&mut self, id: u64, reason: &str, more: &[&str]) -> String {
        let record = crash_record(id, reason, more);
        self.text(record.as_bytes());
        self.pad();
        record
    }

    /// What a reader must print: the tiles' texts in the order of rounds, then of places. A tile that lacks its end ends its line.
    pub fn expected(&self) -> String {
        let mut tiles: Vec<_> = self.texts.iter().map(|(tile, (round, text))| (*round, *tile, text)).collect();
        tiles.sort();
        let bytes: Vec<u8> = tiles.into_iter().flat_map(|(_, _, text)| text.clone()).collect();
        String::from_utf8(bytes).unwrap()
    }
}

/// A line that tells its number and proves its own length.
pub fn numbered(number: u32) -> String {
    let time = f64::from(number) / 1000.0;
    let level = ["ERROR", "WARN ", "INFO ", "DEBUG", "TRACE"][number as usize % 5];
    let body = "abcdefghij".repeat(number as usize % 9);
    format!("[{time:12.6}] {level} app::part{}: line {number:07} {body}.", number % 3)
}

/// A crash record as its description has it.
pub fn crash_record(id: u64, reason: &str, more: &[&str]) -> String {
    let mut lines = format!("reason: {reason}\nversion: 0.1.0\nbuild: 00ff\n");
    for line in more {
        lines.push_str(line);
        lines.push('\n');
    }
    let (count, crc) = (lines.lines().count(), crc32c(lines.as_bytes()));
    format!("---[ crash {id:016x} ]---\n{lines}---[ end crash {id:016x} lines={count} crc32c={crc:08x} ]---\n")
}

/// CRC-32C bit by bit.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

/// Bytes without any pattern, none of which is text for long.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
