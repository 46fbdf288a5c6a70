//! `bcon tail -f` on a disk that a guest writes: each line once, in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bcon::follow::{Follow, Look};
use bcon::log::Log;
use qemu::{Kind, Outcome};
use tests::Scene;
use tests::oracle::line;

/// Lines of each boot: three boots of them go around a disk of 8 MiB.
const LINES: usize = 30_000;

#[test]
fn a_reader_sees_each_line_once_while_guests_write_them() {
    for kind in [Kind::Virtio, Kind::Nvme] {
        let scene = Scene::with_consoles(&[kind]);
        let target = bcon::target::open(&scene.image_path(0)).unwrap();
        let console = target.console(None).unwrap();
        let log = Log::open(console).unwrap();
        let newest = log.len() - 1;
        let mut follow = Follow::new(console, log, newest);
        let done = AtomicBool::new(false);
        let seen = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = Vec::new();
                loop {
                    // Looked at before the disk: nothing is written after it was set.
                    let last = done.load(Ordering::Acquire);
                    let look = follow.look(|line| {
                        seen.push(String::from_utf8(line.bytes.to_vec())?);
                        Ok(())
                    });
                    match look.unwrap() {
                        Look::Something => {}
                        Look::Overtaken => panic!("the guest was faster than the reader by a whole disk"),
                        Look::Nothing if last => return seen,
                        Look::Nothing => thread::sleep(Duration::from_millis(5)),
                    }
                }
            });
            for _ in 0..3 {
                scene.run(&format!("app=lines:{LINES} serial=off"), Outcome::Finished);
            }
            done.store(true, Ordering::Release);
            reader.join().unwrap()
        });
        let numbers = seen.iter().filter_map(|text| number(text));
        let expected = (0..3).flat_map(|_| 1..=LINES);
        assert!(numbers.eq(expected), "{kind:?}");
        assert_eq!(seen.iter().filter(|text| text.contains(" blockconsole: boot ")).count(), 3);
        assert!(seen.ends_with(&scene.lines(0)[1..]), "what was followed is what is on the disk");
    }
}

/// The number in `line 0000001 of N …`.
fn number(text: &str) -> Option<usize> {
    let message = line(text)?.message.strip_prefix("line ")?;
    message.split_once(" of ")?.0.parse().ok()
}
