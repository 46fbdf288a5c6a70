//! A guest with its disks, in a place of its own.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use qemu::{Disk, Guest, Kind, Machine, Outcome, Programs, Report, Running, TemporaryDirectory};

use crate::oracle::Oracle;
use crate::recipe::make_console;

/// Guests that one test program runs at a time. More would only take time from each other.
const GUESTS: usize = 2;

/// Disks in a temporary directory, and guests that use them one after the other.
///
/// Everything here panics with a report of what happened, as tests want it.
pub struct Scene {
    directory: TemporaryDirectory,
    disks: Vec<Disk>,
    _seat: Seat,
}

impl Scene {
    /// A place without disks. Waits until there are few enough of them.
    pub fn new() -> Self {
        Self { directory: TemporaryDirectory::new().unwrap(), disks: Vec::new(), _seat: Seat::take() }
    }

    /// A place with a console of 8 MiB on each of these kinds of disks.
    pub fn with_consoles(kinds: &[Kind]) -> Self {
        let mut scene = Self::new();
        for kind in kinds {
            scene.add_console(*kind, 8);
        }
        scene
    }

    /// Adds a disk with this content.
    pub fn add(&mut self, kind: Kind, content: &[u8]) -> &mut Disk {
        let path = self.path(&format!("disk{}", self.disks.len()));
        fs::write(&path, content).unwrap();
        self.disks.push(Disk::new(kind, path));
        self.disks.last_mut().unwrap()
    }

    /// Adds a console of so many MiB, made as the original script makes it.
    pub fn add_console(&mut self, kind: Kind, mebibytes: usize) -> &mut Disk {
        let mut content = vec![0; mebibytes << 20];
        make_console(&mut content, RandomState::new().hash_one(()) as u32);
        self.add(kind, &content)
    }

    /// The path of a file in this place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.file(name)
    }

    /// A disk, to change how it behaves from the next guest on.
    pub fn disk(&mut self, number: usize) -> &mut Disk {
        &mut self.disks[number]
    }

    /// What a disk holds.
    pub fn image(&self, number: usize) -> Vec<u8> {
        fs::read(self.image_path(number)).unwrap()
    }

    /// Where a disk's image is.
    pub fn image_path(&self, number: usize) -> PathBuf {
        self.path(&format!("disk{number}"))
    }

    /// The lines on a disk that is one console, oldest first. Both readers must find it sound, and see the same.
    pub fn lines(&self, number: usize) -> Vec<String> {
        let image = self.image(number);
        let oracle = Oracle::new(&image).unwrap_or_else(|error| panic!("disk {number}: {error:#}"));
        oracle.check_no_holes(self.disks[number].block_size as usize).unwrap();
        let lines = oracle.lines().unwrap();
        let same = bcon_lines(&self.image_path(number));
        match oracle.wrapped {
            false => {
                let differ = same.iter().zip(&lines).position(|(one, other)| one != other);
                let differ = differ.unwrap_or(same.len().min(lines.len()));
                let (one, other) = (same.get(differ), lines.get(differ));
                assert!(same == lines, "disk {number}: the readers differ in line {differ}: {one:?}, {other:?}");
            }
            // The beginning of a tile that is about to be overwritten is there for one reader, and not for the other.
            true => assert!(same.ends_with(&lines[1..]), "disk {number}: the readers differ"),
        }
        lines
    }

    /// A guest with the disks and this command line.
    pub fn guest(&self, command_line: &str) -> Guest {
        let programs = Programs::find_or_build().unwrap();
        let mut guest = Guest::new(&programs);
        guest.machine = Machine::for_disks(&self.disks).unwrap();
        guest.disks = self.disks.clone();
        guest.command_line = command_line.to_owned();
        guest
    }

    /// Starts a guest.
    pub fn start(&self, command_line: &str) -> Running {
        self.guest(command_line).start().unwrap()
    }

    /// Runs a guest to its end, which must be this one.
    pub fn run(&self, command_line: &str, outcome: Outcome) -> Report {
        run(self.guest(command_line), outcome)
    }

    /// Runs a guest that must crash, and say that its record is everywhere.
    pub fn run_crash(&self, command_line: &str) -> Report {
        self.run(command_line, Outcome::Crashed { durable_everywhere: true })
    }
}

/// The lines of the only console on a disk, as `bcon` reads them. It must find no damage.
pub fn bcon_lines(path: &Path) -> Vec<String> {
    let target = bcon::target::open(path).unwrap();
    let findings = bcon::verify::verify(target.console(None).unwrap()).unwrap();
    assert_eq!(findings.damages(), 0, "{}: {:?}", path.display(), findings.list());
    damaged_bcon_lines(path)
}

/// The lines of the only console on a disk that may be damaged, as `bcon` reads them.
pub fn damaged_bcon_lines(path: &Path) -> Vec<String> {
    let target = bcon::target::open(path).unwrap();
    let console = target.console(None).unwrap();
    let log = bcon::log::Log::open(console).unwrap();
    let mut lines = bcon::lines::Lines::new(&log);
    let mut texts = Vec::new();
    while let Some(line) = lines.next_line() {
        texts.push(String::from_utf8_lossy(line.bytes).into_owned());
    }
    texts
}

/// Runs a guest to its end, which must be this one.
pub fn run(guest: Guest, outcome: Outcome) -> Report {
    let disks = guest.disks.clone();
    let report = guest.start().and_then(|running| running.wait()?.expect(outcome));
    report.unwrap_or_else(|error| panic!("{error:#}\n{}", crashes(&disks)))
}

/// The last crash record of each disk: why a guest did not end as it should have.
fn crashes(disks: &[Disk]) -> String {
    let targets = disks.iter().filter_map(|disk| bcon::target::open(disk.path.as_ref()?).ok());
    let consoles = targets.flat_map(|target| target.consoles);
    let records = consoles.filter_map(|console| {
        let crash = bcon::crash::last(&bcon::log::Log::open(&console).ok()?, None)?;
        Some(format!("last crash record on {}:\n{}", console.name, String::from_utf8_lossy(&crash.text)))
    });
    records.collect()
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

/// One of the [`GUESTS`] permissions to run guests.
struct Seat;

static TAKEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Seat {
    fn take() -> Self {
        let mut taken = TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken == GUESTS {
            taken = TAKEN.1.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
        Self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        TAKEN.1.notify_one();
    }
}

/// A word that stands nowhere by chance.
pub fn random_word() -> String {
    format!("word{:016x}", RandomState::new().hash_one(()))
}
