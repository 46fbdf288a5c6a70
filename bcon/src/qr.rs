//! QR codes of crash records, found in pictures of a screen.
//!
//! A picture may be a screenshot or a photo, in which codes stand at an angle; several pictures may each show some of a record's
//! codes. What a phone's scanner has read can be given as text as well.

use anyhow::{Context, Result, bail};
use blockconsole::crash::MAX_RECORD;
use blockconsole::qr::{Bad, MAX_TEXT, MODEL_WORDS, PREFIX, Receiver};
use std::io::Cursor;

/// Most pixels of a picture: more than any camera has, and little enough for memory.
const MAX_PIXELS: u64 = 200_000_000;
/// The factors by which a picture is made smaller in turn if nothing is found in it: photos have noise that is finer than modules.
const REDUCTIONS: [usize; 4] = [1, 2, 3, 4];

/// A picture in shades of grey, row by row.
pub struct Picture {
    width: usize,
    height: usize,
    grey: Vec<u8>,
}

impl Picture {
    /// Reads a picture: PNG, or a portable pixmap (PPM or PGM, binary), as QEMU's `screendump` makes them.
    ///
    /// # Errors
    /// When it is neither, damaged, or too large.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', ..] => Self::parse_png(bytes),
            [b'P', b'5' | b'6', ..] => Self::parse_pixmap(bytes).context("this is no whole picture of its format"),
            [0xFF, 0xD8, ..] => bail!("JPEG is not read: convert it to PNG first"),
            _ => bail!("this is neither a PNG nor a PPM picture"),
        }
    }

    fn parse_png(bytes: &[u8]) -> Result<Self> {
        let mut decoder = png::Decoder::new(Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().context("the PNG file is damaged")?;
        let (width, height) = (reader.info().width, reader.info().height);
        check_size(width.into(), height.into())?;
        let mut pixels = vec![0; reader.output_buffer_size().context("the picture is too large")?];
        let info = reader.next_frame(&mut pixels).context("the PNG file is damaged")?;
        let samples = info.color_type.samples();
        let grey = pixels.chunks_exact(samples).map(|pixel| match pixel {
            [red, green, blue, ..] => grey(*red, *green, *blue),
            [grey, ..] => *grey,
            [] => 0,
        });
        Ok(Self { width: width as usize, height: height as usize, grey: grey.collect() })
    }

    fn parse_pixmap(bytes: &[u8]) -> Option<Self> {
        let samples = if bytes.starts_with(b"P6") { 3 } else { 1 };
        let mut rest = bytes.get(2..)?;
        let mut numbers = [0_usize; 3];
        for number in &mut numbers {
            loop {
                rest = rest.trim_ascii_start();
                let Some(comment) = rest.strip_prefix(b"#") else { break };
                rest = comment.get(comment.iter().position(|byte| *byte == b'\n')?..)?;
            }
            let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
            *number = str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
            rest = rest.get(digits..)?;
        }
        let [width, height, depth] = numbers;
        check_size(width as u64, height as u64).ok().filter(|()| depth == 255)?;
        let pixels = rest.get(1..)?.get(..width.checked_mul(height)?.checked_mul(samples)?)?;
        let grey = pixels.chunks_exact(samples).map(|pixel| match pixel {
            [red, green, blue] => grey(*red, *green, *blue),
            _ => pixel.first().copied().unwrap_or(0),
        });
        Some(Self { width, height, grey: grey.collect() })
    }

    /// The texts of all QR codes that are found in it.
    pub fn texts(&self) -> Vec<Vec<u8>> {
        let mut texts = Vec::new();
        for factor in REDUCTIONS {
            texts.extend(self.texts_reduced(factor));
            if texts.iter().any(|text: &Vec<u8>| text.starts_with(PREFIX)) {
                break;
            }
        }
        texts
    }

    fn texts_reduced(&self, factor: usize) -> Vec<Vec<u8>> {
        let (width, height) = (self.width / factor, self.height / factor);
        if width < 21 || height < 21 {
            return Vec::new();
        }
        let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
            let square = (y * factor..(y + 1) * factor).flat_map(|row| {
                let start = row * self.width + x * factor;
                self.grey.get(start..start + factor).unwrap_or_default()
            });
            (square.map(|grey| usize::from(*grey)).sum::<usize>() / (factor * factor)) as u8
        });
        let codes = prepared.detect_grids();
        let texts = codes.iter().filter_map(|code| {
            let mut text = Vec::new();
            // A code that cannot be read is one less; whether that matters is known when all are put together.
            code.decode_to(&mut text).ok()?;
            Some(text)
        });
        texts.collect()
    }
}

fn check_size(width: u64, height: u64) -> Result<()> {
    let is_possible = width > 0 && height > 0 && width.checked_mul(height).is_some_and(|count| count <= MAX_PIXELS);
    if is_possible { Ok(()) } else { bail!("a picture of {width} by {height} pixels is not read") }
}

/// How bright a colour is (ITU-R BT.601).
fn grey(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 77 + u32::from(green) * 151 + u32::from(blue) * 28) >> 8) as u8
}

/// Puts a record together from what was found.
pub struct Collector {
    receiver: Box<Receiver>,
    taken: usize,
}

impl Collector {
    /// One that has nothing yet.
    pub fn new() -> Self {
        Self { receiver: Box::new(Receiver::new()), taken: 0 }
    }

    /// Takes all codes of a picture, or the lines of a text in which a scanner has written what it read. Returns how many
    /// codes of a crash record were in it.
    ///
    /// # Errors
    /// When it is no picture, or has codes of another record than before.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        let texts = match bytes.starts_with(PREFIX) {
            true => bytes
                .split(|byte| *byte == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
                .collect(),
            false => Picture::parse(bytes)?.texts(),
        };
        let mut found = 0;
        for text in texts.iter().filter(|text| text.len() <= MAX_TEXT) {
            match self.receiver.take(text) {
                Ok(_) => found += 1,
                Err(Bad::NotOurs) => {}
                Err(bad) => bail!("a code cannot be used: {bad}"),
            }
        }
        self.taken += found;
        Ok(found)
    }

    /// The record, its checksum checked.
    ///
    /// # Errors
    /// When codes are missing or do not belong together.
    pub fn record(&self) -> Result<Vec<u8>> {
        if self.taken == 0 {
            bail!("there is no QR code of a crash record in it");
        }
        let (mut memory, mut record) = (vec![0; MODEL_WORDS], vec![0; MAX_RECORD]);
        match self.receiver.record(&mut memory, &mut record) {
            Ok(record) => Ok(record.to_vec()),
            Err(bad) => bail!("there is no whole crash record in it: {bad}"),
        }
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self::new()
    }
}
