//! Every line that was logged is on every disk, once and in order.

use qemu::{Kind, Outcome};
use tests::Scene;
use tests::oracle::line;

#[test]
fn twenty_thousand_lines_are_there() {
    let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    scene.run("app=lines:20000 serial=off", Outcome::Finished);
    for disk in 0..2 {
        let lines = scene.lines(disk);
        let numbers: Vec<u32> = lines.iter().filter_map(|text| number(text)).collect();
        assert!(numbers.iter().copied().eq(1..=20_000), "disk {disk} has {} of them", numbers.len());
        assert!(!lines.iter().any(|line| line.contains("lines lost")), "{lines:?}");
        let times: Vec<u64> = lines.iter().map(|text| line(text).unwrap_or_else(|| panic!("{text:?}")).time).collect();
        assert!(times.is_sorted(), "lines are not in the order of their times");
    }
}

/// The number of a numbered line; `None` for others.
fn number(text: &str) -> Option<u32> {
    let rest = line(text)?.message.strip_prefix("line ")?;
    let (number, rest) = rest.split_once(" of 20000 ")?;
    // What follows proves that the line is whole.
    let filler = "abcdefghijklmnopqrstuvwxyz0123456789".chars().cycle();
    assert!(rest.chars().eq(filler.take(rest.chars().count())), "{text:?}");
    number.parse().ok()
}
