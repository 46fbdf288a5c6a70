//! Side requests: everything but text and flushes, one at a time.

use super::{Console, Kind, Reason, tag};
use block::{BlockDevice, Error, ErrorKind, Request};

/// A request that is not text: in flight, waiting to be made once more, or done.
pub(super) struct Side<B> {
    pub(super) job: Job,
    pub(super) tile: u32,
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) buffer: Option<B>,
    pub(super) state: SideState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SideState {
    InFlight {
        serial: u32,
        again: bool,
    },
    Waiting {
        again: bool,
    },
    /// In flight, but nobody wants it any more: whatever comes of it.
    Abandoned {
        serial: u32,
    },
    Done(Result<(), Error>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Read,
    Write,
    WriteZeroes,
}

impl<B> Side<B> {
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, SideState::InFlight { .. } | SideState::Abandoned { .. })
    }

    /// Whether it may change what is on the disk.
    pub(super) fn writes(&self) -> bool {
        self.job != Job::Read && !matches!(self.state, SideState::Done(_))
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Console<'_, B, N> {
    /// Asks for a side request, which must not be there yet; [`side_step`](Self::side_step) makes it.
    pub(super) fn ask_side(&mut self, job: Job, tile: u32, start: u32, end: u32, buffer: Option<B>) {
        self.side = Some(Side { job, tile, start, end, buffer, state: SideState::Waiting { again: false } });
        self.is_changed = true;
    }

    /// Gives the side request up. One that is in flight stays until it is over, and holds up the next one until then.
    pub(super) fn drop_side(&mut self) {
        match &mut self.side {
            Some(Side { state: state @ SideState::InFlight { .. }, .. }) => {
                if let SideState::InFlight { serial, .. } = *state {
                    *state = SideState::Abandoned { serial };
                }
            }
            Some(Side { state: SideState::Abandoned { .. }, .. }) | None => {}
            Some(_) => {
                if let Some(buffer) = self.side.take().and_then(|side| side.buffer) {
                    self.pool.put(buffer);
                }
            }
        }
    }

    /// Submits the side request that waits, and takes the one that is done.
    pub(super) fn side_step<D: BlockDevice<Buffer = B>>(
        &mut self,
        device: &mut D,
    ) -> Option<(Side<B>, Result<(), Error>)> {
        let side = self.side.as_ref()?;
        match side.state {
            SideState::Done(result) => {
                self.is_changed = true;
                self.side.take().map(|side| (side, result))
            }
            SideState::InFlight { .. } | SideState::Abandoned { .. } => None,
            SideState::Waiting { again } => {
                self.submit_side(device, again);
                None
            }
        }
    }

    fn submit_side<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, again: bool) {
        let serial = self.next_serial();
        let Some(side) = &mut self.side else { return };
        let Ok(blocks) = self.config.place.blocks_of(side.tile, side.start, side.end) else {
            self.stop(Reason::Outside);
            return;
        };
        let (first_block, blocks) = (blocks.first, blocks.count);
        let request = match (side.job, side.buffer.take()) {
            (Job::WriteZeroes, _) => Request::WriteZeroes { first_block, blocks },
            (Job::Read, Some(buffer)) => Request::Read { first_block, blocks, buffer },
            (Job::Write, Some(buffer)) => Request::Write { first_block, blocks, buffer, fua: false },
            (_, None) => {
                side.state = SideState::Done(Err(ErrorKind::NotReady.into()));
                return;
            }
        };
        side.state = SideState::InFlight { serial, again };
        self.is_changed = true;
        self.publish();
        let tag = tag::encode(self.config.index, Kind::Side, serial);
        if let Err(refused) = device.submit(tag, request)
            && let Some(side) = &mut self.side
        {
            side.buffer = refused.request.into_buffer();
            side.state = match refused.error.kind {
                ErrorKind::QueueFull | ErrorKind::NotReady => SideState::Waiting { again },
                _ => SideState::Done(Err(refused.error)),
            };
        }
    }

    /// Notes how the side request ended. A failed one is made once more, if its buffer came back.
    pub(super) fn complete_side(&mut self, serial: u32, result: Result<(), Error>, buffer: Option<B>) -> Option<B> {
        match &mut self.side {
            Some(Side { state: SideState::Abandoned { serial: own }, .. }) if *own == serial => {
                self.side = None;
                self.flushes.note_write();
                buffer
            }
            Some(side) if matches!(side.state, SideState::InFlight { serial: own, .. } if own == serial) => {
                let again = matches!(side.state, SideState::InFlight { again: true, .. });
                let can_retry = side.job == Job::WriteZeroes || buffer.is_some();
                side.buffer = buffer;
                side.state = match result {
                    Err(_) if !again && can_retry => SideState::Waiting { again: true },
                    result => SideState::Done(result),
                };
                None
            }
            _ => buffer,
        }
    }
}
