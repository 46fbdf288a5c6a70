//! Mounting: finding the end of the log, and what the boot before left.

use super::next_tile::{NextTile, Stage};
use super::point::Point;
use super::side::Job;
use super::{Console, Identity, Phase, Reason};
use crate::last_boot::{self, LastBoot};
use crate::search::{Answer, Found, Search, Step};
use block::BlockDevice;

/// A mount under way: the [search](crate::search), then the question to the [last boot](crate::last_boot).
#[expect(clippy::large_enum_variant, reason = "there is no heap, and one of it a console")]
#[derive(Clone, Debug)]
pub(super) enum Mount {
    Searching(Search),
    Asking(Found, LastBoot),
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Console<'_, B, N> {
    /// Begins to mount; the log will go on from this point of its text.
    pub(super) fn start_mount(&mut self, point: Point) {
        self.drop_text();
        self.drop_side();
        self.flushes.reset();
        self.failures = 0;
        self.is_undone = false;
        self.has_passed_over = false;
        self.has_failed_to_zero = false;
        self.source.rewind(point);
        self.tiles.current = None;
        self.tiles.next = NextTile::default();
        // In a crash, whose disk it is has been known for a while, if it was known at all.
        let known = self.tiles.identity.filter(|_| self.crash.is_some()).map(|identity| identity.uuid);
        let search = Search::new(self.tile_count(), known.or(self.config.expected));
        self.phase = Phase::Mounting(Mount::Searching(search));
    }

    pub(super) fn mount_step<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D) {
        // Requests of an earlier mount may still be about; what they do to the disk must be over.
        if self.outstanding().next().is_some() {
            return;
        }
        let answer = self.side_step(device);
        if answer.is_none() && self.side.is_some() {
            return;
        }
        let Phase::Mounting(mount) = &mut self.phase else { return };
        let mut mount = mount.clone();
        if let Some((side, result)) = answer {
            let len = (side.end - side.start) as usize;
            let bytes = side.buffer.as_ref().filter(|_| result.is_ok()).and_then(|buffer| buffer.as_ref().get(..len));
            match &mut mount {
                Mount::Searching(search) => search.answer(bytes.map_or(Answer::Unreadable, Answer::of)),
                Mount::Asking(_, last_boot) => last_boot.answer(bytes.unwrap_or_default()),
            }
            if let Some(buffer) = side.buffer {
                self.pool.put(buffer);
            }
        }
        if self.side.is_none() && self.is_active() {
            self.mount_on(device, mount);
        }
    }

    fn mount_on<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, mut mount: Mount) {
        let block = self.block_size();
        if let Mount::Searching(search) = &mut mount {
            match search.step() {
                Step::Read(tile) => return self.mount_read(device, mount, tile, 0, block),
                Step::Refused(refusal) => return self.stop(Reason::Refused(refusal)),
                Step::Done(found) => {
                    let last_boot = LastBoot::new(&found, self.tile_count(), block, self.transfer_bytes());
                    if self.tiles.identity.is_some_and(|identity| identity.uuid == found.uuid) {
                        // It was asked when this boot's log began here.
                        return self.mounted(found, &last_boot);
                    }
                    mount = Mount::Asking(found, last_boot);
                }
            }
        }
        if let Mount::Asking(found, last_boot) = &mount {
            match last_boot.step() {
                last_boot::Step::Read { tile, start, end } => {
                    let end = end.min(start.saturating_add(self.config.place.contiguous(tile, start)));
                    self.mount_read(device, mount, tile, start, end);
                }
                last_boot::Step::Done => {
                    let (found, last_boot) = (*found, last_boot.clone());
                    self.mounted(found, &last_boot);
                }
            }
        }
    }

    fn mount_read<D: BlockDevice<Buffer = B>>(
        &mut self,
        device: &mut D,
        mount: Mount,
        tile: u32,
        start: u32,
        end: u32,
    ) {
        self.phase = Phase::Mounting(mount);
        match self.pool.take() {
            Some(buffer) => {
                self.ask_side(Job::Read, tile, start, end, Some(buffer));
                self.side_step(device);
            }
            // They are with the device, or lost for good.
            None if self.in_flight() == 0 => self.stop(Reason::Buffers),
            None => {}
        }
    }

    fn mounted(&mut self, found: Found, last_boot: &LastBoot) {
        match self.tiles.identity {
            Some(identity) if identity.uuid == found.uuid => {}
            other => {
                let boot = last_boot.boot().unwrap_or(0).saturating_add(1);
                self.tiles.identity = Some(Identity { uuid: found.uuid, boot });
                self.tiles.kept = last_boot.kept();
                self.before = last_boot.end();
                if other.is_some() {
                    // Another disk in the same place: it has nothing yet.
                    self.flushes.forget();
                    self.source.rewind(Point::START);
                }
            }
        }
        self.tiles.next = NextTile { tile: found.next, round: found.next_round, stage: Stage::Choosing };
        self.plan = (found.next, found.next_round);
        self.announce = Some(found.damaged);
        self.phase = Phase::Logging;
        self.is_changed = true;
    }
}
