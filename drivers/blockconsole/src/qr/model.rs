//! Compression for crash records: prediction bit by bit, and an arithmetic coder.
//!
//! ```text
//!  the last 1, 2, 3, 4, 6 bytes ─┬─► table ─► probability ─┐
//!  + the bits of this one        └─►   …    ─► probability ─┴─► mixer ─► probability of a 1 ─► coder
//! ```
//! A record is a few kilobytes of which most are numbers in hexadecimal: there is little to be found twice, but much to
//! be predicted. Before the first byte the model reads [`PRIMER`], a record like those to come, so that nothing of what all of them have in
//! common takes room. All arithmetic is on integers: both sides predict the same.

/// What both sides have read before the first byte. A change of it is another format.
const PRIMER: &[u8] = include_bytes!("primer.txt");

/// How many of the last bytes each table looks at.
const ORDERS: [u32; INPUTS] = [1, 2, 3, 4, 6];
const INPUTS: usize = 5;
/// Entries of a table, as a power of two.
const TABLE_BITS: u32 = 14;
const TABLE: usize = 1 << TABLE_BITS;
/// Words of memory that a [`Model`] works in.
pub const MODEL_WORDS: usize = INPUTS * TABLE;

/// An entry: a probability in its upper 22 bits, and in the rest how often it has been met.
const FRESH: u32 = 1 << 31;
const COUNT: u32 = (1 << 10) - 1;
/// Meetings from which on an entry does not become slower to learn.
const SLOWEST: u32 = 60;
/// Weights are chosen by how many tables know the context.
const WEIGHT_SETS: usize = INPUTS + 1;
/// A weight of one.
const ONE: i32 = 1 << 16;
const FIRST_WEIGHT: i32 = ONE * 3 / 10;
/// How fast weights learn, as a shift: less is faster.
const LEARNING: i32 = 10;

/// The logistic function at -8, -7.5 … 8, times 4096.
const LOGISTIC: [i32; 33] = [
    1, 2, 4, 6, 10, 17, 27, 45, 74, 120, 194, 311, 488, 747, 1102, 1546, 2048, 2550, 2994, 3349, 3608, 3785, 3902,
    3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095,
];

/// The logistic function: from -2047…2047, in 256ths, to 1…4095, in 4096ths.
const fn squash(x: i32) -> i32 {
    let x = if x > 2047 { 2047 } else { x };
    let x = if x < -2047 { -2047 } else { x };
    let (at, part) = (((x >> 7) + 16) as usize, x & 127);
    (LOGISTIC[at] * (128 - part) + LOGISTIC[at + 1] * part + 64) >> 7
}

/// The inverse of [`squash`].
static STRETCH: [i16; 4096] = {
    let mut table = [0; 4096];
    let (mut x, mut at) = (-2047, 0);
    while x <= 2047 {
        let end = squash(x) as usize;
        while at <= end {
            table[at] = x as i16;
            at += 1;
        }
        x += 1;
    }
    while at < 4096 {
        table[at] = 2047;
        at += 1;
    }
    table
};

/// Predicts the next bit from all before.
struct Model<'m> {
    tables: &'m mut [u32],
    weights: [[i32; INPUTS]; WEIGHT_SETS],
    /// The last eight bytes.
    history: u64,
    /// The bits of this byte, behind a 1.
    bits: u32,
    /// Hashes of the bytes that each table looks at.
    contexts: [u32; INPUTS],
    /// What the next bit's prediction came from.
    entries: [usize; INPUTS],
    inputs: [i32; INPUTS],
    set: usize,
    mixed: i32,
}

impl<'m> Model<'m> {
    /// `None` if the memory has fewer than [`MODEL_WORDS`] words.
    fn new(memory: &'m mut [u32]) -> Option<Self> {
        let tables = memory.get_mut(..MODEL_WORDS)?;
        tables.fill(FRESH);
        let mut model = Self {
            tables,
            weights: [[FIRST_WEIGHT; INPUTS]; WEIGHT_SETS],
            history: 0,
            bits: 1,
            contexts: [0; INPUTS],
            entries: [0; INPUTS],
            inputs: [0; INPUTS],
            set: 0,
            mixed: 2048,
        };
        model.begin_byte();
        for byte in PRIMER {
            for bit in bits(*byte) {
                model.learn(bit);
            }
        }
        Some(model)
    }

    /// Probability that the next bit is 1, in 4096ths, from 1 to 4095.
    fn predict(&self) -> u32 {
        self.mixed as u32
    }

    /// Takes in what the bit was.
    fn learn(&mut self, bit: u32) {
        let error = ((bit as i32) << 12) - self.mixed;
        for (weight, input) in self.weights[self.set].iter_mut().zip(self.inputs) {
            *weight = (*weight + ((input * error) >> LEARNING)).clamp(-16 * ONE, 16 * ONE);
        }
        for (table, at) in self.tables.chunks_exact_mut(TABLE).zip(self.entries) {
            let entry = table[at];
            let (probability, count) = (entry >> 10, entry & COUNT);
            let target = (1 << 22) * bit - bit;
            // The first meeting counts for 2/3, the next for 2/5, then 2/7.
            let step = (i64::from(target) - i64::from(probability)) * 2 / i64::from(2 * count + 3);
            let probability = (i64::from(probability) + step).clamp(0, (1 << 22) - 1) as u32;
            table[at] = probability << 10 | if count < SLOWEST { count + 1 } else { count };
        }
        self.bits = self.bits << 1 | bit;
        if self.bits >= 256 {
            self.history = self.history << 8 | u64::from(self.bits & 0xFF);
            self.bits = 1;
            self.begin_byte();
        } else {
            self.look_up();
        }
    }

    fn begin_byte(&mut self) {
        for (context, order) in self.contexts.iter_mut().zip(ORDERS) {
            let seen = self.history & ((1 << (8 * order)) - 1);
            *context = ((seen + u64::from(order)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
        }
        self.look_up();
    }

    /// Finds the entries for the next bit, and mixes what they say.
    fn look_up(&mut self) {
        let mut known = 0;
        for (index, context) in self.contexts.into_iter().enumerate() {
            let hash = (context ^ self.bits.wrapping_mul(0x2545_F491)).wrapping_mul(0x9E37_79B1);
            let at = (hash >> (32 - TABLE_BITS)) as usize;
            let entry = self.tables[index * TABLE + at];
            known += usize::from(entry & COUNT > 0);
            self.entries[index] = at;
            self.inputs[index] = STRETCH[(entry >> 20) as usize].into();
        }
        self.set = known;
        let sum: i64 = self.weights[known]
            .iter()
            .zip(self.inputs)
            .map(|(weight, input)| i64::from(*weight) * i64::from(input))
            .sum();
        self.mixed = squash((sum >> 16).clamp(-2047, 2047) as i32).clamp(1, 4095);
    }
}

/// The bits of a byte, the highest first.
fn bits(byte: u8) -> impl Iterator<Item = u32> {
    (0..8).rev().map(move |bit| u32::from(byte >> bit & 1))
}

/// The interval that is left, of all numbers that begin with what was written.
struct Interval {
    low: u32,
    high: u32,
}

impl Interval {
    /// The last number that means 1, if the next bit is 1 with this probability.
    fn split(&self, ones: u32) -> u32 {
        let width = u64::from(self.high - self.low);
        self.low + ((width * u64::from(ones)) >> 12) as u32
    }

    fn narrow(&mut self, split: u32, bit: u32) {
        if bit == 1 {
            self.high = split;
        } else {
            self.low = split + 1;
        }
    }

    /// The first byte, if it is settled; the interval goes on behind it.
    fn settled(&mut self) -> Option<u8> {
        let byte = self.low >> 24;
        if byte != self.high >> 24 {
            return None;
        }
        self.low <<= 8;
        self.high = self.high << 8 | 0xFF;
        Some(byte as u8)
    }
}

/// Packs a text. Returns the length, or `None` if `out`, or `memory` (of [`MODEL_WORDS`]), is too small.
pub fn pack(text: &[u8], memory: &mut [u32], out: &mut [u8]) -> Option<usize> {
    let mut model = Model::new(memory)?;
    let mut interval = Interval { low: 0, high: u32::MAX };
    let mut len = 0;
    let mut put = |byte: u8| {
        *out.get_mut(len)? = byte;
        len += 1;
        Some(())
    };
    for bit in text.iter().flat_map(|byte| bits(*byte)) {
        let split = interval.split(model.predict());
        interval.narrow(split, bit);
        model.learn(bit);
        while let Some(byte) = interval.settled() {
            put(byte)?;
        }
    }
    // The shortest end that lies in the interval, whatever follows: the reader goes on with zeroes.
    put((interval.low >> 24) as u8 + 1)?;
    Some(len)
}

/// Unpacks a text of known length: all of `out` is filled, whatever `packed` is. `false` if `memory` is too small.
pub fn unpack(packed: &[u8], memory: &mut [u32], out: &mut [u8]) -> bool {
    let Some(mut model) = Model::new(memory) else { return false };
    let mut interval = Interval { low: 0, high: u32::MAX };
    let mut rest = packed.iter().copied().chain(core::iter::repeat(0));
    let mut next = || u32::from(rest.next().unwrap_or(0));
    let mut number = (0..4).fold(0, |number, _| number << 8 | next());
    for byte in out {
        for _ in 0..8 {
            let split = interval.split(model.predict());
            let bit = u32::from(number <= split);
            interval.narrow(split, bit);
            model.learn(bit);
            *byte = *byte << 1 | bit as u8;
            while interval.settled().is_some() {
                number = number << 8 | next();
            }
        }
    }
    true
}
