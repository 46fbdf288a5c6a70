//! Addresses of a program as functions, files and lines.

use super::record::Record;
use addr2line::Loader;
use anyhow::{Context, Result, anyhow, bail};
use object::{Object, ObjectSegment, ReadCache, SegmentFlags};
use std::fmt::{self, Write};
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How deep folders are looked through for a program.
const MAX_DEPTH: usize = 16;

/// A program whose addresses can be turned into places in its source.
pub struct Symbols {
    loader: Loader,
    path: PathBuf,
    program: Program,
}

/// What is known of a program without its symbols.
struct Program {
    /// In hexadecimal digits.
    build_id: Option<String>,
    has_debug_information: bool,
    /// Where its code is.
    code: Vec<Range<u64>>,
}

/// A function, and the place in it that an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function's name, demangled.
    pub function: Option<String>,
    /// The source file.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1.
    pub column: Option<u32>,
    /// Whether the function was inlined into the one that follows.
    pub inlined: bool,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.as_deref().unwrap_or("??"))?;
        if let Some(file) = &self.file {
            write!(f, " at {file}")?;
            for number in [self.line, self.column].into_iter().flatten() {
                write!(f, ":{number}")?;
            }
        }
        if self.inlined { f.write_str(" (inlined)") } else { Ok(()) }
    }
}

impl Symbols {
    /// Opens an ELF program.
    ///
    /// # Errors
    /// If it cannot be read or is no ELF program.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let program = inspect(path)?;
        let loader = Loader::new(path).map_err(|error| anyhow!("{shown} has no usable debug information: {error}"))?;
        Ok(Self { loader, path: path.to_owned(), program })
    }

    /// Its build id, in hexadecimal digits.
    pub fn build_id(&self) -> Option<&str> {
        self.program.build_id.as_deref()
    }

    /// Refuses a program that is not the one that crashed: its addresses would mean something else.
    ///
    /// # Errors
    /// Says which build ids differ.
    pub fn check(&self, record: &Record) -> Result<()> {
        let shown = self.path.display();
        match (record.build.as_deref(), self.build_id()) {
            (Some(crashed), Some(own)) if crashed == own => Ok(()),
            (Some(crashed), Some(own)) => {
                bail!(
                    "{shown} is another build than the one that crashed: its build id is {own}, the record has {crashed}"
                )
            }
            (_, None) => bail!("{shown} has no build id: it cannot be told whether it is the program that crashed"),
            (None, _) => bail!("the crash record has no build id: it cannot be told whether {shown} crashed"),
        }
    }

    /// The functions that an address belongs to, the innermost inlined one first. Empty if it belongs to none.
    ///
    /// A return address points behind its call, which may be the next line's or function's: `is_return` looks one byte before it.
    pub fn frames(&self, address: u64, is_return: bool) -> Vec<Frame> {
        let probe = if is_return { address.saturating_sub(1) } else { address };
        let mut frames = Vec::new();
        // What the linker left out keeps its debug information, at the address 0. A call of a null pointer was not there.
        if !self.program.code.iter().any(|range| range.contains(&probe)) {
            return frames;
        }
        if let Ok(mut found) = self.loader.find_frames(probe) {
            while let Ok(Some(frame)) = found.next() {
                let function = frame.function.and_then(|name| name.demangle().ok().map(|name| name.into_owned()));
                // Code that belongs to several lines has line 0; the file that goes with it is that of whatever came before.
                let location = frame.location.filter(|location| location.line.is_some_and(|line| line != 0));
                frames.push(Frame {
                    function,
                    file: location.as_ref().and_then(|location| location.file).map(str::to_owned),
                    line: location.as_ref().and_then(|location| location.line),
                    column: location.as_ref().and_then(|location| location.column),
                    inlined: true,
                });
            }
        }
        if let Some(symbol) = self.loader.find_symbol(probe) {
            let function = Some(format!("{:#}", rustc_demangle::demangle(symbol)));
            if frames.iter().all(|frame| frame.function.is_none()) {
                frames.truncate(1);
            }
            // Where there are no more than line tables, as in releases, names come without their crates and modules.
            match frames.last_mut() {
                Some(frame) => frame.function = function,
                None => frames.push(Frame { function, file: None, line: None, column: None, inlined: true }),
            }
        }
        if let Some(outermost) = frames.last_mut() {
            outermost.inlined = false;
        }
        frames
    }
}

/// The build id of an ELF program, in hexadecimal digits. Reads no more of it than that takes.
///
/// # Errors
/// If it cannot be read or is no ELF program.
pub fn build_id_of(path: &Path) -> Result<Option<String>> {
    inspect(path).map(|program| program.build_id)
}

fn inspect(path: &Path) -> Result<Program> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    let mut magic = [0; 4];
    if file.read_exact(&mut magic).is_err() || magic != object::elf::ELFMAG {
        bail!("{shown} is no ELF program");
    }
    let cache = ReadCache::new(file);
    let object = object::File::parse(&cache).with_context(|| format!("{shown} is no ELF program"))?;
    let id = object.build_id().with_context(|| format!("{shown}: its notes are damaged"))?;
    let has_debug_information = object.section_by_name(".debug_info").is_some();
    let is_code = |flags| matches!(flags, SegmentFlags::Elf { p_flags, .. } if p_flags.0 & object::elf::PF_X.0 != 0);
    let code = object.segments().filter(|segment| is_code(segment.flags()));
    let code = code.map(|segment| segment.address()..segment.address().saturating_add(segment.size())).collect();
    let digits = |id: &[u8]| {
        id.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    Ok(Program { build_id: id.map(digits), has_debug_information, code })
}

/// Looks for the program with a build id in a folder and those below it: at `.build-id/xx/yyy.debug`, where distributions keep such
/// files, and then at every ELF program. One with debug information is preferred.
///
/// # Errors
/// If the folder cannot be read. That there is no such program is none.
pub fn find_program(folder: &Path, build_id: &str) -> Result<Option<PathBuf>> {
    if let Some((first, rest)) = build_id.split_at_checked(2) {
        for start in [folder.join(".build-id"), folder.to_owned()] {
            let path = start.join(first).join(format!("{rest}.debug"));
            if inspect(&path).is_ok_and(|program| program.build_id.as_deref() == Some(build_id)) {
                return Ok(Some(path));
            }
        }
    }
    let mut best = None;
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error).context(format!("cannot read {}", folder.display())),
            Err(_) => continue,
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            // Links to folders may go round in circles.
            let Ok(kind) = fs::symlink_metadata(&path).map(|metadata| metadata.file_type()) else { continue };
            if kind.is_dir() && depth < MAX_DEPTH {
                open.push((path, depth + 1));
            } else if path.is_file()
                && let Ok(program) = inspect(&path)
                && program.build_id.as_deref() == Some(build_id)
            {
                if program.has_debug_information {
                    return Ok(Some(path));
                }
                best = best.or(Some(path));
            }
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_outside_of_the_program_belong_to_nothing() {
        let symbols = Symbols::open(&std::env::current_exe().unwrap()).unwrap();
        for address in [0, 8, 1 << 63, u64::MAX - 1, u64::MAX] {
            assert_eq!(symbols.frames(address, false), [], "{address:#x}");
            assert_eq!(symbols.frames(address, true), [], "{address:#x}");
        }
    }
}
