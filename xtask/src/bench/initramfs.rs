//! An initramfs in the "newc" cpio format.
//!
//! Source: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`.

/// An archive that grows file by file.
#[derive(Default)]
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    files: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

impl Initramfs {
    /// Adds a folder; its parent must be there.
    pub(super) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, &[]);
    }

    /// Adds a file that may be run.
    pub(super) fn program(&mut self, name: &str, contents: &[u8]) {
        self.entry(name, PROGRAM, contents);
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.files += 1;
        let (owner, links, time, device) = (0, 1, 0, 0);
        let fields = [
            self.files,
            mode,
            owner,
            owner,
            links,
            time,
            contents.len() as u32,
            device,
            device,
            device,
            device,
            name.len() as u32 + 1,
            0, // the checksum, which this variant of the format does not use
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(contents);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
