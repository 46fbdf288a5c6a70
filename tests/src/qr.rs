//! An independent reader of crash records in QR codes: FORMAT.md, section 9.
//!
//! It has nothing of the kernel's code: the packing's model is written here a second time, by what that says of its arithmetic. What both have in common
//! is the text that they have read before.

use anyhow::{Context, Result, bail, ensure};

/// What both sides have read before.
const PRIMER: &[u8] = include_bytes!("../../drivers/blockconsole/src/qr/primer.txt");
const DIGITS: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/// The record that these texts hold, whatever their order.
///
/// # Errors
/// What is wrong with them.
pub fn record<'t>(texts: impl Iterator<Item = &'t str>) -> Result<Vec<u8>> {
    let mut pieces = Vec::new();
    for text in texts {
        let bytes = base45(text.strip_prefix("BCQ1:").context("no text of ours")?)?;
        let (header, piece) = bytes.split_at_checked(8).context("too short")?;
        ensure!(!piece.is_empty() && piece.len() <= 2792, "a piece of {} bytes", piece.len());
        pieces.push((header[0], header[1..].to_vec(), piece.to_vec()));
    }
    pieces.sort();
    let (_, header, longest) = pieces.first().context("no texts")?;
    let count = usize::from(header[0]);
    ensure!(
        pieces.len() == count && pieces.iter().zip(0..).all(|(piece, number)| piece.0 == number),
        "pieces are missing"
    );
    ensure!(pieces.iter().all(|piece| piece.1 == *header), "pieces of several records");
    let is_even = |len: usize| len == longest.len() || len + 1 == longest.len();
    ensure!(pieces.iter().all(|piece| is_even(piece.2.len())), "uneven pieces");
    let len = usize::from(u16::from_le_bytes([header[1], header[2]]));
    ensure!(len <= 16_384, "a record of {len} bytes");
    let packed: Vec<u8> = pieces.iter().flat_map(|piece| piece.2.iter().copied()).collect();
    let record = unpack(&packed, len);
    let sum = u32::from_le_bytes([header[3], header[4], header[5], header[6]]);
    ensure!(crc32c(&record) == sum, "the record's checksum is wrong: {}", String::from_utf8_lossy(&record));
    Ok(record)
}

/// RFC 9285: three digits are two bytes, two digits at the end are one.
fn base45(text: &str) -> Result<Vec<u8>> {
    let digit = |byte: &u8| DIGITS.iter().position(|digit| digit == byte).context("no digit");
    let mut bytes = Vec::new();
    for group in text.as_bytes().chunks(3) {
        let digits = group.iter().map(digit).collect::<Result<Vec<_>>>()?;
        let number = digits.iter().rev().fold(0, |number, digit| number * 45 + digit);
        match digits.len() {
            3 if number < 1 << 16 => bytes.extend((number as u16).to_be_bytes()),
            2 if number < 1 << 8 => bytes.push(number as u8),
            _ => bail!("no Base45"),
        }
    }
    Ok(bytes)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0x82F6_3B78 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

/// Undoes the packing: as many bytes as there were.
fn unpack(packed: &[u8], len: usize) -> Vec<u8> {
    let mut predictor = Predictor::new();
    for byte in PRIMER {
        for place in (0..8).rev() {
            predictor.update(byte >> place & 1 == 1);
        }
    }
    let mut coming = packed.iter().copied().chain(std::iter::repeat(0));
    let mut value = coming.by_ref().take(4).fold(0_u64, |value, byte| value << 8 | u64::from(byte));
    let (mut low, mut high) = (0_u64, u64::from(u32::MAX));
    let mut bytes = vec![0; len];
    for place in 0..8 * len {
        let border = low + (high - low) * predictor.ones as u64 / 4096;
        let bit = value <= border;
        (low, high) = if bit { (low, border) } else { (border + 1, high) };
        predictor.update(bit);
        bytes[place / 8] |= u8::from(bit) << (7 - place % 8);
        while low >> 24 == high >> 24 {
            low = low << 8 & 0xFFFF_FFFF;
            high = (high << 8 & 0xFFFF_FFFF) | 0xFF;
            value = (value << 8 & 0xFFFF_FFFF) | u64::from(coming.next().unwrap_or(0));
        }
    }
    bytes
}

const ORDERS: [usize; 5] = [1, 2, 3, 4, 6];

/// A table's entry: the probability of a 1 of 2^22, and how often it was met.
#[derive(Clone, Copy)]
struct Entry {
    ones: i64,
    met: i64,
}

/// Says how probable a 1 is, and learns.
struct Predictor {
    tables: Vec<[Entry; 5]>,
    weights: [[i64; 5]; 6],
    /// The last bytes, the newest first, and the bits of this one.
    last: [u8; 6],
    bits: Vec<bool>,
    found: [usize; 5],
    said: [i64; 5],
    known: usize,
    /// Of 4096.
    ones: i64,
    logit: Vec<i64>,
}

impl Predictor {
    fn new() -> Self {
        // The logit of a probability is the first number whose logistic reaches it.
        let logit = |ones: i64| (-2047..=2047).find(|x| logistic(*x) >= ones).unwrap_or(2047);
        let mut new = Self {
            tables: vec![[Entry { ones: 1 << 21, met: 0 }; 5]; 1 << 14],
            weights: [[(1 << 16) * 3 / 10; 5]; 6],
            last: [0; 6],
            bits: Vec::new(),
            found: [0; 5],
            said: [0; 5],
            known: 0,
            ones: 2048,
            logit: (0..4096).map(logit).collect(),
        };
        new.predict();
        new
    }

    fn predict(&mut self) {
        let so_far = self.bits.iter().fold(1_u32, |bits, bit| bits << 1 | u32::from(*bit));
        self.known = 0;
        let mut sum = 0;
        for (index, order) in ORDERS.into_iter().enumerate() {
            let seen = self.last[..order].iter().rev().fold(0_u64, |seen, byte| seen << 8 | u64::from(*byte));
            let context = ((seen + order as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
            let hash = (context ^ so_far.wrapping_mul(0x2545_F491)).wrapping_mul(0x9E37_79B1);
            self.found[index] = (hash >> 18) as usize;
            let entry = self.tables[self.found[index]][index];
            self.known += usize::from(entry.met > 0);
            self.said[index] = self.logit[(entry.ones >> 10) as usize];
        }
        for (weight, said) in self.weights[self.known].iter().zip(self.said) {
            sum += weight * said;
        }
        self.ones = logistic(sum >> 16).clamp(1, 4095);
    }

    fn update(&mut self, bit: bool) {
        let error = i64::from(bit) * 4096 - self.ones;
        for (weight, said) in self.weights[self.known].iter_mut().zip(self.said) {
            *weight = (*weight + ((said * error) >> 10)).clamp(-(1 << 20), 1 << 20);
        }
        for (index, at) in self.found.into_iter().enumerate() {
            let entry = &mut self.tables[at][index];
            let target = if bit { (1 << 22) - 1 } else { 0 };
            entry.ones = (entry.ones + (target - entry.ones) * 2 / (2 * entry.met + 3)).clamp(0, (1 << 22) - 1);
            entry.met = (entry.met + 1).min(60);
        }
        self.bits.push(bit);
        if self.bits.len() == 8 {
            self.last.rotate_right(1);
            self.last[0] = self.bits.drain(..).fold(0, |byte, bit| byte << 1 | u8::from(bit));
        }
        self.predict();
    }
}

/// The logistic function of 256ths, in 4096ths: exact at halves, straight in between.
fn logistic(x: i64) -> i64 {
    let x = x.clamp(-2047, 2047);
    let exact = |half: i64| (4096.0 / (1.0 + (-(half as f64) / 2.0).exp())).round() as i64;
    let (half, part) = (x.div_euclid(128), x.rem_euclid(128));
    (exact(half) * (128 - part) + exact(half + 1) * part + 64) >> 7
}
