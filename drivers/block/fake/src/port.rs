//! One queue of a disk: the driver and its device in one.

use crate::fault::{Effect, Kind};
use crate::history::{Event, Pending};
use crate::{Disk, Inner, Order, Writing};
use block::{BlockDevice, Completion, Error, ErrorKind, Geometry, Refused, Request, State, Tag, WriteCache};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// One queue of a [`Disk`].
pub struct Port {
    disk: Disk,
    epoch: u64,
    queue: Vec<Queued>,
    done: VecDeque<Completion<Vec<u8>>>,
    state: State,
    /// Polls until a reset is over.
    reset_in: u32,
}

/// A request that was accepted.
struct Queued {
    id: u64,
    tag: Tag,
    request: Request<Vec<u8>>,
    age: u32,
    effect: Option<Effect>,
    /// For a flush: the events that had happened when it was submitted.
    submitted: usize,
    /// For a write: what it writes.
    contents: Vec<Arc<[u8]>>,
}

impl Port {
    pub(crate) fn new(disk: Disk, epoch: u64) -> Self {
        Self { disk, epoch, queue: Vec::new(), done: VecDeque::new(), state: State::Ready, reset_in: 0 }
    }

    /// Takes up the disk's latest epoch: another port may have reset it, or its plug was pulled.
    fn notice(&mut self, inner: &mut Inner) {
        if inner.is_dead && !matches!(self.state, State::Recovering) {
            self.die(inner, ErrorKind::Gone);
        } else if self.epoch != inner.epoch {
            self.epoch = inner.epoch;
            self.give_up(inner, ErrorKind::Aborted);
        }
    }

    /// Completes all requests with an error; their buffers come back.
    fn give_up(&mut self, inner: &mut Inner, kind: ErrorKind) {
        for queued in self.queue.drain(..) {
            inner.finish_write(queued.id);
            inner.counts.failures += 1;
            let buffer = queued.request.into_buffer();
            self.done.push_back(Completion { tag: queued.tag, result: Err(kind.into()), buffer });
        }
    }

    /// Completes all requests without their buffers: the device may still use them, and its writes are in flight until a reset.
    fn die(&mut self, inner: &mut Inner, kind: ErrorKind) {
        for queued in self.queue.drain(..) {
            inner.counts.failures += 1;
            self.done.push_back(Completion { tag: queued.tag, result: Err(kind.into()), buffer: None });
        }
        self.state = State::Dead(kind.into());
    }

    fn reset(&mut self, inner: &mut Inner, kind: ErrorKind) {
        inner.counts.resets += 1;
        inner.epoch += 1;
        self.epoch = inner.epoch;
        if inner.settings.resets {
            inner.void_writes();
            self.give_up(inner, kind);
            inner.is_dead = false;
            self.state = State::Recovering;
            self.reset_in = inner.settings.reset_latency;
        } else {
            self.die(inner, ErrorKind::Fatal);
        }
    }

    /// The index of the request that completes now, if one does.
    fn choose(&self, inner: &mut Inner) -> Option<usize> {
        let is_ready = |queued: &Queued| match queued.effect {
            Some(Effect::Hang) => false,
            Some(Effect::Delay(polls)) => queued.age >= inner.settings.latency.saturating_add(polls),
            _ => queued.age >= inner.settings.latency,
        };
        let ready: Vec<usize> = (0..self.queue.len()).filter(|i| is_ready(&self.queue[*i])).collect();
        match inner.settings.order {
            Order::First => ready.first().copied(),
            Order::Last => ready.last().copied(),
            Order::Random(_) if ready.is_empty() => None,
            Order::Random(_) => Some(ready[inner.random.below(ready.len() as u64) as usize]),
        }
    }
}

impl BlockDevice for Port {
    type Buffer = Vec<u8>;

    fn geometry(&self) -> Geometry {
        self.disk.lock().settings.geometry
    }

    fn state(&self) -> State {
        if self.disk.lock().is_dead && matches!(self.state, State::Ready) {
            return State::Dead(ErrorKind::Gone.into());
        }
        self.state
    }

    fn submit(&mut self, tag: Tag, request: Request<Vec<u8>>) -> Result<(), Refused<Vec<u8>>> {
        let disk = self.disk.clone();
        let mut inner = disk.lock();
        self.notice(&mut inner);
        let geometry = inner.settings.geometry;
        let refusal = if self.state != State::Ready {
            Some(ErrorKind::NotReady.into())
        } else if self.queue.len() >= usize::from(geometry.queue_depth) {
            Some(ErrorKind::QueueFull.into())
        } else if is_unsupported(&request, &geometry) {
            Some(ErrorKind::Unsupported.into())
        } else {
            request.check(&geometry).err()
        };
        if let Some(error) = refusal {
            return Err(Refused { error, request });
        }
        inner.history.is_write_through = geometry.write_cache != WriteCache::Volatile;
        let (kind, blocks) = (kind(&request), blocks(&request));
        let effect = inner.faults.iter_mut().find_map(|fault| fault.apply(kind, &blocks));
        let id = inner.next_id;
        inner.next_id += 1;
        let contents = inner.contents(&request, effect);
        if matches!(kind, Kind::Write | Kind::WriteZeroes) {
            inner.begin_write(id, &contents, blocks);
        }
        let submitted = inner.history.len();
        self.queue.push(Queued { id, tag, request, age: 0, effect, submitted, contents });
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion<Vec<u8>>> {
        let disk = self.disk.clone();
        let mut inner = disk.lock();
        self.notice(&mut inner);
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        if self.state == State::Recovering {
            self.reset_in = self.reset_in.saturating_sub(1);
            if self.reset_in == 0 {
                self.state = State::Ready;
            }
            return None;
        }
        for queued in &mut self.queue {
            queued.age += 1;
        }
        let deadline = inner.settings.deadline;
        if self.queue.iter().any(|queued| deadline.is_some_and(|deadline| queued.age > deadline)) {
            self.reset(&mut inner, ErrorKind::TimedOut);
            return self.done.pop_front();
        }
        let mut queued = self.queue.remove(self.choose(&mut inner)?);
        let result = inner.carry_out(&mut queued);
        Some(Completion { tag: queued.tag, result, buffer: queued.request.into_buffer() })
    }

    fn recover(&mut self) {
        let disk = self.disk.clone();
        self.reset(&mut disk.lock(), ErrorKind::Aborted);
    }
}

impl Inner {
    /// Notes that a write may be on the medium from now on.
    fn begin_write(&mut self, id: u64, contents: &[Arc<[u8]>], blocks: Range<u64>) {
        let overlaps = |other: &&Writing| other.blocks.start < blocks.end && blocks.start < other.blocks.end;
        if let Some(other) = self.writing.iter().find(overlaps) {
            self.violations.push(format!("write of blocks {blocks:?} while {:?} are being written", other.blocks));
        }
        let allowed = self.allowed.iter().any(|allowed| allowed.start <= blocks.start && blocks.end <= allowed.end);
        if !self.allowed.is_empty() && !allowed {
            self.violations.push(format!("write of blocks {blocks:?}, outside of what is allowed"));
        }
        self.history.push(Event::Submitted(Pending::new(id, blocks.start, contents.to_vec())));
        self.writing.push(Writing { id, blocks, contents: contents.to_vec() });
    }

    /// A reset: what writes had done by then, on any port, is anyone's guess, but they do nothing more.
    fn void_writes(&mut self) {
        for Writing { id, blocks, contents } in std::mem::take(&mut self.writing) {
            let done = self.random.below(2 * contents.len() as u64 + 1).min(contents.len() as u64);
            self.apply(blocks.start, &contents, done);
            self.history.push(Event::Void { id, blocks: done as usize });
        }
    }

    /// Notes that a write is over; `false` if it was none.
    fn finish_write(&mut self, id: u64) -> bool {
        let before = self.writing.len();
        self.writing.retain(|writing| writing.id != id);
        self.writing.len() < before
    }

    /// What a write puts on the medium, blocks that a fault takes away apart.
    fn contents(&self, request: &Request<Vec<u8>>, effect: Option<Effect>) -> Vec<Arc<[u8]>> {
        let size = self.settings.geometry.block_size as usize;
        let mut contents: Vec<Arc<[u8]>> = match request {
            Request::Write { blocks, buffer, .. } => {
                buffer.chunks_exact(size).take(*blocks as usize).map(Into::into).collect()
            }
            Request::WriteZeroes { blocks, .. } => vec![vec![0; size].into(); *blocks as usize],
            Request::Read { .. } | Request::Flush => Vec::new(),
        };
        match effect {
            Some(Effect::Fail(_)) => contents.clear(),
            Some(Effect::FailAfter(_, done)) => contents.truncate(done as usize),
            Some(Effect::Delay(_) | Effect::Hang | Effect::Lie | Effect::Forget(_)) | None => {}
        }
        contents
    }

    /// Puts the first so many blocks of a write on the medium.
    fn apply(&mut self, first_block: u64, contents: &[Arc<[u8]>], count: u64) {
        for (block, bytes) in (first_block..).zip(contents).take(count as usize) {
            self.medium.set_block(block, bytes.clone());
        }
    }

    fn carry_out(&mut self, queued: &mut Queued) -> Result<(), Error> {
        let blocks = blocks(&queued.request);
        let is_write = self.finish_write(queued.id);
        self.apply(blocks.start, &queued.contents, u64::MAX);
        let result = match queued.effect {
            Some(Effect::Fail(kind) | Effect::FailAfter(kind, _) | Effect::Forget(kind)) => Err(kind.into()),
            Some(Effect::Delay(_) | Effect::Hang | Effect::Lie) | None => Ok(()),
        };
        if is_write {
            self.history.push(Event::Completed(queued.id));
        }
        if matches!((queued.effect, &queued.request), (Some(Effect::Forget(_)), Request::Flush)) {
            self.history.push(Event::Forgotten);
            self.medium = self.history.durable();
        }
        self.count(&queued.request, result);
        result?;
        let size = u64::from(self.settings.geometry.block_size);
        match &mut queued.request {
            Request::Read { buffer, .. } => {
                let len = ((blocks.end - blocks.start) * size) as usize;
                buffer[..len].copy_from_slice(&self.medium.read(blocks.start * size, len));
            }
            Request::Flush if queued.effect != Some(Effect::Lie) => self.history.push(Event::Flushed(queued.submitted)),
            Request::Write { .. } | Request::WriteZeroes { .. } | Request::Flush => {}
        }
        Ok(())
    }

    fn count(&mut self, request: &Request<Vec<u8>>, result: Result<(), Error>) {
        match request {
            _ if result.is_err() => self.counts.failures += 1,
            Request::Read { .. } => self.counts.reads += 1,
            Request::Write { blocks, .. } => {
                self.counts.writes += 1;
                self.counts.written_bytes += u64::from(*blocks) * u64::from(self.settings.geometry.block_size);
            }
            Request::WriteZeroes { .. } => self.counts.zeroes += 1,
            Request::Flush => self.counts.flushes += 1,
        }
    }
}

/// This device has no FUA, and no flush if its cache is unknown.
fn is_unsupported(request: &Request<Vec<u8>>, geometry: &Geometry) -> bool {
    match request {
        Request::Flush => geometry.write_cache == WriteCache::Unknown,
        Request::Write { fua, .. } => *fua,
        Request::Read { .. } | Request::WriteZeroes { .. } => false,
    }
}

fn kind(request: &Request<Vec<u8>>) -> Kind {
    match request {
        Request::Read { .. } => Kind::Read,
        Request::Write { .. } => Kind::Write,
        Request::WriteZeroes { .. } => Kind::WriteZeroes,
        Request::Flush => Kind::Flush,
    }
}

fn blocks(request: &Request<Vec<u8>>) -> Range<u64> {
    match request {
        Request::Read { first_block, blocks, .. }
        | Request::Write { first_block, blocks, .. }
        | Request::WriteZeroes { first_block, blocks } => *first_block..first_block + u64::from(*blocks),
        Request::Flush => 0..0,
    }
}
