//! What a guest prints: kept, and shown as it comes.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// Bytes that are kept of one guest's output; a guest that prints for ever must not eat the host's memory.
const KEPT: usize = 64 << 20;

/// The output of a running guest. Clones share it.
#[derive(Clone, Debug)]
pub struct Serial {
    shared: Arc<(Mutex<Output>, Condvar)>,
}

#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    ended: bool,
}

impl Serial {
    /// Reads `source` to its end in a thread of its own, and writes what comes to `echo` as well.
    pub(crate) fn follow(mut source: impl Read + Send + 'static, mut echo: Option<Box<dyn Write + Send>>) -> Self {
        let serial = Self { shared: Arc::default() };
        let writer = serial.clone();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            // An error ends the output like its end does: QEMU is gone.
            while let Ok(length @ 1..) = source.read(&mut piece) {
                let piece = &piece[..length];
                if let Some(echo) = &mut echo {
                    // A terminal that went away is no reason to stop listening.
                    let _ = echo.write_all(piece).and_then(|()| echo.flush());
                }
                let mut output = writer.lock();
                let room = KEPT - output.bytes.len();
                output.bytes.extend_from_slice(&piece[..room.min(piece.len())]);
                writer.shared.1.notify_all();
            }
            writer.lock().ended = true;
            writer.shared.1.notify_all();
        });
        serial
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Waits until `done` says so, given all that was printed so far, or the output ended, or the deadline passed.
    /// Returns what `done` said last.
    pub fn wait_until(&self, deadline: Option<Instant>, mut done: impl FnMut(&[u8]) -> bool) -> bool {
        self.wait(deadline, |output| done(&output.bytes))
    }

    /// Waits for the end of the output; `false` if the deadline passed first.
    pub(crate) fn wait_for_end(&self, deadline: Option<Instant>) -> bool {
        self.wait(deadline, |output| output.ended)
    }

    fn wait(&self, deadline: Option<Instant>, mut done: impl FnMut(&Output) -> bool) -> bool {
        let mut output = self.lock();
        loop {
            if done(&output) {
                return true;
            }
            if output.ended {
                return false;
            }
            output = match deadline.map(|deadline| deadline.checked_duration_since(Instant::now())) {
                None => self.shared.1.wait(output).unwrap_or_else(PoisonError::into_inner),
                Some(Some(left)) => self.shared.1.wait_timeout(output, left).unwrap_or_else(PoisonError::into_inner).0,
                Some(None) => return false,
            };
        }
    }
}

/// How many records the guest said to be durable, with `ack=serial` on its command line: the number in the last whole line `durable N`.
pub fn last_acknowledged(serial: &[u8]) -> usize {
    // Such lines come often, and output may be long.
    let text = String::from_utf8_lossy(&serial[serial.len().saturating_sub(4096)..]);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let number = whole.rsplit('\n').find_map(|line| line.trim_end().strip_prefix("durable ")?.parse().ok());
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::time::Duration;

    use super::*;

    #[test]
    fn keeps_everything_and_ends() {
        let serial = Serial::follow(Cursor::new(vec![b'x'; 10_000]), None);
        assert!(serial.wait_until(None, |bytes| bytes.len() == 10_000));
        assert!(serial.wait_for_end(None));
        assert!(!serial.wait_until(None, |_| false));
    }

    #[test]
    fn only_whole_lines_acknowledge() {
        for (serial, records) in [
            ("", 0),
            ("durable 7", 0),
            ("durable 5\r\ndurable 7", 5),
            ("durable 5\ndurable 17\r\n[    0.1] INFO  x: durable 99\n", 17),
            ("not durable 5\ndurable x\n", 0),
        ] {
            assert_eq!(last_acknowledged(serial.as_bytes()), records, "{serial:?}");
        }
        let long = [b"durable 3\n".as_slice(), &[b'x'; 9000], b"\ndurable 4\n"].concat();
        assert_eq!(last_acknowledged(&long), 4);
    }

    #[test]
    fn a_silent_source_meets_its_deadline() {
        let (source, _held) = std::os::unix::net::UnixStream::pair().unwrap();
        let serial = Serial::follow(source, None);
        assert!(!serial.wait_until(Some(Instant::now() + Duration::from_millis(1)), |bytes| !bytes.is_empty()));
    }
}
