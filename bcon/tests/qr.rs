//! Crash records are read from pictures of QR codes.

use bcon::crash::Crash;
use bcon::qr::Collector;
use blockconsole::crash::{MAX_RECORD, Report, Stack, write};
use blockconsole::qr::{MAX_PACKED, MAX_TEXT, MODEL_WORDS, Sender};
use qrcodegen_no_heap::{Mask, QrCode, QrCodeEcc, Version};

fn record(words: u64) -> Vec<u8> {
    let stack: Vec<u8> = (0..words).flat_map(|word| word.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).collect();
    let report = Report {
        id: 0x5f1c_09e2_a7b3_d480,
        reason: "page fault: read from 0xdeadbeef000: nothing is mapped there",
        version: "0.1.0",
        stack: Some(Stack { address: 0x1000, bytes: &stack }),
        ..Report::default()
    };
    let mut out = vec![0; MAX_RECORD];
    let len = write(&report, &mut out);
    out.truncate(len);
    out
}

fn texts(record: &[u8], pieces: usize) -> Vec<String> {
    let (mut memory, mut room) = (vec![0; MODEL_WORDS], vec![0; MAX_PACKED]);
    let sender = Sender::new(record, &mut memory, &mut room).expect("it can be packed");
    let text = |number| {
        let mut text = vec![0; MAX_TEXT];
        let len = sender.text(number, pieces, &mut text).expect("a text");
        text.truncate(len);
        String::from_utf8(text).expect("ASCII")
    };
    (0..pieces).map(text).collect()
}

/// A picture in shades of grey.
struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// A dark screen.
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![30; width * height] }
    }

    /// Draws a code turned by `angle` radians around its upper left corner.
    fn draw(&mut self, text: &str, (left, top): (f64, f64), pixels: f64, angle: f64) {
        let (mut work, mut out) = (vec![0; Version::MAX.buffer_len()], vec![0; Version::MAX.buffer_len()]);
        let mask = Some(Mask::new(0));
        let code =
            QrCode::encode_text(text, &mut work, &mut out, QrCodeEcc::Low, Version::MIN, Version::MAX, mask, true);
        let code = code.unwrap_or_else(|_| panic!("too long"));
        let side = f64::from(code.size());
        for y in 0..self.height {
            for x in 0..self.width {
                let (dx, dy) = (x as f64 + 0.5 - left, y as f64 + 0.5 - top);
                let u = (dx * angle.cos() + dy * angle.sin()) / pixels - 4.0;
                let v = (dy * angle.cos() - dx * angle.sin()) / pixels - 4.0;
                if u >= -4.0 && v >= -4.0 && u < side + 4.0 && v < side + 4.0 {
                    let dark = code.get_module(u.floor() as i32, v.floor() as i32);
                    self.pixels[y * self.width + x] = if dark { 40 } else { 225 };
                }
            }
        }
    }

    fn pixmap(&self) -> Vec<u8> {
        let mut file = format!("P6\n# a comment\n{} {}\n255\n", self.width, self.height).into_bytes();
        file.extend(self.pixels.iter().flat_map(|grey| [*grey; 3]));
        file
    }

    fn png(&self, color: png::ColorType) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width as u32, self.height as u32);
        encoder.set_color(color);
        let samples = color.samples();
        let data: Vec<u8> = self.pixels.iter().flat_map(|grey| std::iter::repeat_n(*grey, samples)).collect();
        encoder.write_header().and_then(|mut writer| writer.write_image_data(&data)).expect("a PNG file");
        file
    }
}

fn read(files: &[Vec<u8>]) -> Vec<u8> {
    let mut collector = Collector::new();
    for file in files {
        collector.take(file).expect("a picture");
    }
    collector.record().expect("a record")
}

#[test]
fn screenshots_are_read() {
    let record = record(40);
    let mut picture = Picture::new(700, 620);
    picture.draw(&texts(&record, 1)[0], (60.0, 40.0), 5.0, 0.0);
    let files = [
        picture.pixmap(),
        picture.png(png::ColorType::Grayscale),
        picture.png(png::ColorType::Rgb),
        picture.png(png::ColorType::Rgba),
    ];
    for file in files {
        assert_eq!(read(&[file]), record);
    }
    let crash = Crash::alone(record).expect("a crash record");
    assert!(crash.is_whole() && crash.id == Some(0x5f1c_09e2_a7b3_d480));
}

#[test]
fn a_photo_at_an_angle_is_read() {
    let record = record(20);
    let mut picture = Picture::new(900, 900);
    picture.draw(&texts(&record, 1)[0], (160.0, 60.0), 7.0, 0.12);
    assert_eq!(read(&[picture.pixmap()]), record);
}

#[test]
fn several_codes_are_put_together() {
    let record = record(400);
    let texts = texts(&record, 3);
    let mut both = Picture::new(1300, 700);
    both.draw(&texts[2], (10.0, 10.0), 4.0, 0.0);
    both.draw(&texts[0], (650.0, 10.0), 4.0, 0.0);
    let mut other = Picture::new(700, 700);
    other.draw(&texts[1], (10.0, 10.0), 4.0, 0.0);
    assert_eq!(read(&[both.pixmap(), other.pixmap()]), record);

    let mut collector = Collector::new();
    assert_eq!(collector.take(&both.pixmap()).ok(), Some(2));
    let error = collector.record().expect_err("one code is missing").to_string();
    assert!(error.contains("2 of 3 codes"), "{error}");
}

#[test]
fn what_a_scanner_read_is_taken_as_text() {
    let record = record(100);
    let lines = texts(&record, 2).join("\r\n") + "\n";
    assert_eq!(read(&[lines.into_bytes()]), record);
}

#[test]
fn other_pictures_and_other_codes_are_no_record() {
    let mut picture = Picture::new(300, 300);
    let mut collector = Collector::new();
    assert_eq!(collector.take(&picture.pixmap()).ok(), Some(0));
    picture.draw("HTTPS://EXAMPLE.ORG", (10.0, 10.0), 6.0, 0.0);
    assert_eq!(collector.take(&picture.pixmap()).ok(), Some(0));
    assert!(collector.record().is_err());
}

#[test]
fn damaged_files_are_errors() {
    let mut picture = Picture::new(60, 60);
    picture.draw("A", (0.0, 0.0), 1.0, 0.0);
    let (png, pixmap) = (picture.png(png::ColorType::Grayscale), picture.pixmap());
    for file in [&png, &pixmap] {
        for end in [0, 1, 2, 7, 20, 40, file.len() / 2] {
            assert!(Collector::new().take(&file[..end]).is_err(), "{end}");
        }
    }
    for header in ["P6 99999999 99999999 255\n", "P6 0 5 255\n", "P6 1 1 65535\n", "P5", "P6 # \n", "P6 -1 1 255\n"] {
        assert!(Collector::new().take(header.as_bytes()).is_err(), "{header}");
    }
}
