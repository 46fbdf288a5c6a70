//! `bcon tail -f` on a disk that a guest writes: each line once, in order.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use bcon::follow::{Follow, Look};
use bcon::log::Log;
use qemu::{Kind, Outcome};
use tests::Scene;
use tests::oracle::{Oracle, line};

/// Lines of each boot: three boots of them go around a disk of 8 MiB.
const LINES: usize = 30_000;
/// After so long without a line that must come, the test has failed: far more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says that nothing more is written, also if the guests failed: who waits for it must not wait for ever.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

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
            {
                let _done = Done(&done);
                for _ in 0..3 {
                    scene.run(&format!("app=lines:{LINES} serial=off"), Outcome::Finished);
                }
            }
            reader.join().unwrap()
        });
        let numbers = seen.iter().filter_map(|text| number(text));
        let expected = (0..3).flat_map(|_| 1..=LINES);
        assert!(numbers.eq(expected), "{kind:?}");
        assert_eq!(seen.iter().filter(|text| text.contains(" blockconsole: boot ")).count(), 3);
        assert!(seen.ends_with(&scene.lines(0)[1..]), "what was followed is what is on the disk");
    }
}

/// `bcon tail -f`, and the lines that it prints, each with when it came.
struct Tail {
    program: Child,
    lines: Receiver<(Instant, String)>,
}

impl Tail {
    fn start(image: &Path) -> Self {
        static BUILT: OnceLock<std::path::PathBuf> = OnceLock::new();
        let bcon = BUILT.get_or_init(|| qemu::build(&["bcon"], &["bcon"], false).unwrap().remove(0));
        let mut command = Command::new(bcon);
        command.args(["tail", "-f", "-n", "0"]).arg(image).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let output = BufReader::new(program.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Self { program, lines }
    }

    /// The lines up to one that contains this, and when that one came.
    fn until(&self, end: &str) -> (Vec<String>, Instant) {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok((when, line)) if line.contains(end) => {
                    lines.push(line);
                    return (lines, when);
                }
                Ok((_, line)) => lines.push(line),
                Err(error) => panic!("no {end:?}, but {} lines, the last {:?}: {error}", lines.len(), lines.last()),
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn the_program_shows_what_running_guests_write_over_wraps_and_new_boots() {
    let scene = Scene::with_consoles(&[Kind::Virtio]);
    let tail = Tail::start(&scene.image_path(0));
    let mut seen = Vec::new();
    // Three boots go around the disk; a fourth is told from what came before by its number.
    for boot in 1..=4 {
        scene.run(&format!("app=lines:{LINES} serial=off"), Outcome::Finished);
        seen.extend(tail.until("INFO  kernel: finished").0);
        let boots = seen.iter().filter(|text| text.contains(" blockconsole: boot ")).count();
        assert_eq!(boots, boot, "boots that were seen");
    }
    assert!(
        seen.iter().filter_map(|text| number(text)).eq((0..4).flat_map(|_| 1..=LINES)),
        "a line is missing or twice"
    );
    assert!(Oracle::new(&scene.image(0)).unwrap().round > 0, "it went around");
    assert!(seen.ends_with(&scene.lines(0)[1..]), "what was followed is what is on the disk");
    // While a guest runs, what it has made durable is there within a second. A busy machine may hold up one of several.
    let delays: Vec<Duration> = (5..=9)
        .map(|boot| {
            let running = scene.start("app=idle ack=serial pad_ms=20");
            running.wait_for_serial("durable ").unwrap();
            let durable = Instant::now();
            let (_, shown) = tail.until(&format!(" blockconsole: boot {boot} of "));
            running.kill().unwrap();
            shown.saturating_duration_since(durable)
        })
        .collect();
    assert!(delays.iter().any(|delay| *delay < Duration::from_secs(1)), "{delays:?}");
}

/// The number in `line 0000001 of N …`.
fn number(text: &str) -> Option<usize> {
    let message = line(text)?.message.strip_prefix("line ")?;
    message.split_once(" of ")?.0.parse().ok()
}
