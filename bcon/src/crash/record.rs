//! A crash record's lines, taken apart.

/// What a crash record says. Keys that are not known stay in `other`, so that a newer kernel's record loses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What happened: `panic: index out of bounds…`.
    pub reason: String,
    /// Where in the source.
    pub place: Option<String>,
    /// The program's version.
    pub version: Option<String>,
    /// Its build id, in hexadecimal digits.
    pub build: Option<String>,
    /// Time since the kernel's start.
    pub uptime: Option<String>,
    /// The processor.
    pub cpu: Option<String>,
    /// The trap, if it was one.
    pub trap: Option<String>,
    /// Registers by name.
    pub registers: Vec<(String, u64)>,
    /// The state of each console.
    pub consoles: Vec<(String, String)>,
    /// Addresses of the backtrace, the innermost first.
    pub frames: Vec<u64>,
    /// Pieces of the stack: address, words.
    pub stack: Vec<(u64, Vec<u64>)>,
    /// What was left out, and other notes.
    pub notes: Vec<String>,
    /// Lines that are none of these.
    pub other: Vec<String>,
}

impl Record {
    /// Takes the lines between a record's first and last one apart.
    pub fn parse(lines: &[u8]) -> Self {
        let mut record = Self::default();
        for line in String::from_utf8_lossy(lines).lines() {
            if record.take(line).is_none() {
                record.other.push(line.to_owned());
            }
        }
        record
    }

    /// What sort of crash: the reason's first words.
    pub fn kind(&self) -> &str {
        self.reason.split(':').next().unwrap_or_default()
    }

    /// A register's value.
    pub fn register(&self, name: &str) -> Option<u64> {
        self.registers.iter().find(|(own, _)| own == name).map(|&(_, value)| value)
    }

    /// Takes a line in; `None` if it is not understood.
    fn take(&mut self, line: &str) -> Option<()> {
        let (key, value) = line.split_once(':')?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        let once = |slot: &mut Option<String>| slot.is_none().then(|| *slot = Some(value.to_owned()));
        match key.split_once(' ') {
            None => match key {
                "reason" if self.reason.is_empty() => self.reason = value.to_owned(),
                "place" => once(&mut self.place)?,
                "version" => once(&mut self.version)?,
                "build" => once(&mut self.build)?,
                "uptime" => once(&mut self.uptime)?,
                "cpu" => once(&mut self.cpu)?,
                "trap" => once(&mut self.trap)?,
                "note" => self.notes.push(value.to_owned()),
                "registers" => {
                    let parsed: Option<Vec<_>> = value.split(' ').map(parse_register).collect();
                    self.registers.extend(parsed?);
                }
                _ => return None,
            },
            Some(("console", name)) => self.consoles.push((name.to_owned(), value.to_owned())),
            Some(("frame", _)) => self.frames.push(parse_address(value)?),
            Some(("stack", address)) => {
                let words: Option<Vec<_>> = value.split(' ').map(|word| u64::from_str_radix(word, 16).ok()).collect();
                self.stack.push((parse_address(address)?, words?));
            }
            Some(_) => return None,
        }
        Some(())
    }
}

fn parse_register(text: &str) -> Option<(String, u64)> {
    let (name, value) = text.split_once('=')?;
    Some((name.to_owned(), u64::from_str_radix(value, 16).ok()?))
}

fn parse_address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_taken_apart() {
        let record = Record::parse(
            b"reason: panic: no: way\nplace: src/main.rs:41:9\nbuild: 9f2c\ntrap: 14 page fault, error code 0x2\n\
              registers: rax=0000000000000001 rip=ffffffff80104c2a\nregisters: cr2=0000000000000000\n\
              console vda: logging, tile 17\nframe 0: 0xffffffff80104c2a\nframe 1: 0x7\n\
              stack 0x1000: 0000000000000001 ff\nnote: a\nnew key: b\nframe 2: x\nno colon\n",
        );
        assert_eq!((record.reason.as_str(), record.kind()), ("panic: no: way", "panic"));
        assert_eq!(record.place.as_deref(), Some("src/main.rs:41:9"));
        assert_eq!(record.register("rip"), Some(0xffff_ffff_8010_4c2a));
        assert_eq!(record.registers.len(), 3);
        assert_eq!(record.consoles, [("vda".to_owned(), "logging, tile 17".to_owned())]);
        assert_eq!(record.frames, [0xffff_ffff_8010_4c2a, 7]);
        assert_eq!(record.stack, [(0x1000, vec![1, 255])]);
        assert_eq!(record.notes, ["a"]);
        assert_eq!(record.other, ["new key: b", "frame 2: x", "no colon"]);
    }
}
