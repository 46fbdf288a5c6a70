//! A thousand images in one call.

mod common;

use common::{Folder, Maker, Writer, bcon_ok};
use std::fs;

#[test]
fn a_thousand_images_are_summed_up() {
    let folder = Folder::new("fleet");
    let places = ["src/a.rs:1:1", "src/b.rs:2:2", "src/c.rs:3:3"];
    let images: Vec<_> = (0..5_usize)
        .map(|number| {
            let mut maker = Maker::new(Writer::Ours, 2, 512);
            maker.boot();
            maker.lines(0..100);
            if let Some(place) = places.get(number) {
                maker.crash(number as u64, "panic: index out of bounds", &[&format!("place: {place}")]);
            }
            folder.write(&format!("original{number}"), &maker.bytes)
        })
        .collect();
    let many = folder.file("many");
    fs::create_dir(&many).unwrap();
    for number in 0..1000 {
        fs::hard_link(&images[number % images.len()], many.join(format!("{number:04}.img"))).unwrap();
    }
    let summary = bcon_ok(0, ["crash", "--all", many.to_str().unwrap()]);
    let lines: Vec<&str> = summary.lines().collect();
    for place in places {
        let at = lines.iter().position(|line| line.contains(place)).unwrap_or_else(|| panic!("no {place}:\n{summary}"));
        assert!(lines[at - 1].trim_start().starts_with("200 "), "{summary}");
    }
    assert_eq!(lines.last().copied(), Some("600 crashed, 400 did not, 0 could not be read"));
}
