//! The device behind the registers: its queues and requests.

use platform_fake::Bus;

use super::registers::Kind;

/// A virtqueue as the device sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) max: u32,
    pub(crate) size: u32,
    pub(crate) enabled: bool,
    pub(crate) descriptors: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
    /// Available entries that were taken.
    pub(crate) taken: u16,
    /// The used index.
    pub(crate) done: u16,
}

/// A request that was taken from a queue.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) queue: usize,
    pub(crate) head: u16,
    pub(crate) kind: u32,
    pub(crate) sector: u64,
    /// Bus address and length of the data, if there are any, and whether the device writes them.
    pub(crate) data: Option<(u64, u32, bool)>,
    pub(crate) status: u64,
    /// The device's reset count when it was taken: a job of an older life must never complete.
    pub(crate) life: u32,
}

/// A virtio-blk device.
pub(crate) struct Device {
    pub(crate) bus: Bus,
    pub(crate) legacy: bool,
    pub(crate) offered: u64,
    pub(crate) accepted: u64,
    pub(crate) status: u8,
    pub(crate) config: Vec<u8>,
    pub(crate) generation: u8,
    pub(crate) queues: Vec<Queue>,
    pub(crate) disk: Vec<u8>,
    /// Requests taken and not completed.
    pub(crate) jobs: Vec<Job>,
    /// Complete requests as soon as they are notified.
    pub(crate) prompt: bool,
    /// Take requests when notified at all.
    pub(crate) listening: bool,
    /// Reads of the status register until a reset shows as done; `u32::MAX`: never.
    pub(crate) reset_reads: u32,
    pub(crate) resetting: Option<u32>,
    pub(crate) refuse_features: bool,
    /// Every register reads as all ones.
    pub(crate) gone: bool,
    /// Change the configuration at each read of it, this many times.
    pub(crate) config_changes: u32,
    /// Every request that was taken: kind, sector, bytes of data.
    pub(crate) log: Vec<(u32, u64, u32)>,
    /// Every notification: queue.
    pub(crate) notifications: Vec<u16>,
    /// What the driver did that it must not do.
    pub(crate) violations: Vec<String>,
    pub(crate) resets: u32,
    /// The number of queue 0's doorbell; the others follow.
    pub(crate) first_doorbell: u16,
}

pub(crate) const READ_ONLY: u64 = 1 << 5;
pub(crate) const SIZE_MAX: u64 = 1 << 1;
pub(crate) const BLOCK_SIZE: u64 = 1 << 6;
pub(crate) const FLUSH: u64 = 1 << 9;
pub(crate) const CONFIG_WCE: u64 = 1 << 11;
pub(crate) const MULTI_QUEUE: u64 = 1 << 12;
pub(crate) const DISCARD: u64 = 1 << 13;
pub(crate) const WRITE_ZEROES: u64 = 1 << 14;
pub(crate) const INDIRECT: u64 = 1 << 28;
pub(crate) const EVENT_INDEX: u64 = 1 << 29;
pub(crate) const VERSION_1: u64 = 1 << 32;
pub(crate) const PACKED: u64 = 1 << 34;

/// Sectors of the model's disk.
pub(crate) const SECTORS: u64 = 4096;

impl Device {
    /// A good device with two queues, flush, discard and write zeroes.
    pub(crate) fn new(bus: Bus, kind: Kind) -> Self {
        let legacy = matches!(kind, Kind::Legacy | Kind::MmioLegacy);
        let usual = FLUSH | MULTI_QUEUE | DISCARD | WRITE_ZEROES | INDIRECT | EVENT_INDEX | BLOCK_SIZE | CONFIG_WCE;
        let mut device = Self {
            bus,
            legacy,
            offered: if legacy { usual } else { usual | VERSION_1 | PACKED },
            accepted: 0,
            status: 0,
            config: vec![0; 60],
            generation: 0,
            queues: vec![Queue { max: 256, ..Queue::default() }; 2],
            disk: vec![0; SECTORS as usize * 512],
            jobs: Vec::new(),
            prompt: true,
            listening: true,
            reset_reads: 0,
            resetting: None,
            refuse_features: false,
            gone: false,
            config_changes: 0,
            log: Vec::new(),
            notifications: Vec::new(),
            violations: Vec::new(),
            resets: 0,
            first_doorbell: 0,
        };
        device.set_config(0, &SECTORS.to_le_bytes());
        device.set_config(20, &512_u32.to_le_bytes());
        device.set_config(32, &[1]);
        device.set_config(34, &2_u16.to_le_bytes());
        for offset in [36, 48] {
            device.set_config(offset, &1024_u32.to_le_bytes());
            device.set_config(offset + 4, &1_u32.to_le_bytes());
        }
        device
    }

    pub(crate) fn set_config(&mut self, offset: usize, bytes: &[u8]) {
        self.config[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Gives every queue a length.
    pub(crate) fn set_queue_size(&mut self, max: u32) {
        for queue in &mut self.queues {
            queue.max = max;
        }
    }

    pub(crate) fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// The status register is written.
    pub(crate) fn set_status(&mut self, status: u8) {
        if status != 0 {
            if self.resetting.is_some() {
                self.violation("status written before the reset was done");
            }
            // FEATURES_OK does not stick when the device does not like what it sees.
            let refused = self.refuse_features && status & 8 != 0;
            self.status = if refused { status & !8 } else { status };
            if status & 4 != 0 && !self.legacy && status & 8 == 0 {
                self.violation("DRIVER_OK without FEATURES_OK");
            }
            return;
        }
        self.resets += 1;
        match self.reset_reads {
            0 => self.finish_reset(),
            reads => self.resetting = Some(reads),
        }
    }

    /// The status register is read.
    pub(crate) fn read_status(&mut self) -> u8 {
        match self.resetting {
            Some(u32::MAX) | None => {}
            Some(1) => self.finish_reset(),
            Some(left) => self.resetting = Some(left - 1),
        }
        self.status
    }

    /// A reset is done: nothing that was taken will ever complete.
    pub(crate) fn finish_reset(&mut self) {
        self.resetting = None;
        self.status = 0;
        self.accepted = 0;
        self.jobs.clear();
        for queue in &mut self.queues {
            *queue = Queue { max: queue.max, ..Queue::default() };
        }
    }

    /// A doorbell.
    pub(crate) fn notify(&mut self, queue: u16) {
        self.notifications.push(queue);
        if self.status & 4 == 0 {
            return self.violation("notified before DRIVER_OK");
        }
        if self.listening {
            self.take(queue.into());
        }
    }

    fn word16(&self, address: u64) -> u16 {
        let mut bytes = [0; 2];
        let _ = self.bus.read(address, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    fn descriptor(&self, table: u64, index: u16) -> (u64, u32, u16, u16) {
        let mut bytes = [0; 16];
        let _ = self.bus.read(table + u64::from(index) * 16, &mut bytes);
        let word = |range: std::ops::Range<usize>| {
            let mut all = [0; 8];
            all[..range.len()].copy_from_slice(&bytes[range]);
            u64::from_le_bytes(all)
        };
        (word(0..8), word(8..12) as u32, word(12..14) as u16, word(14..16) as u16)
    }

    /// Takes every request that is available in a queue.
    pub(crate) fn take(&mut self, index: usize) {
        if !self.queues[index].enabled {
            return self.violation("notified for a queue that is off");
        }
        loop {
            let queue = self.queues[index].clone();
            if self.word16(queue.available + 2) == queue.taken {
                return;
            }
            let entry = u64::from(queue.taken) % u64::from(queue.size);
            let head = self.word16(queue.available + 4 + 2 * entry);
            self.queues[index].taken = queue.taken.wrapping_add(1);
            match self.decode(index, head) {
                Ok(job) => {
                    self.log.push((job.kind, job.sector, job.data.map_or(0, |data| data.1)));
                    self.jobs.push(job);
                }
                Err(what) => self.violation(what),
            }
            if self.prompt {
                self.complete_all();
            }
        }
    }

    /// Whether a request is available that was not taken.
    pub(crate) fn has_available(&self, index: usize) -> bool {
        self.word16(self.queues[index].available + 2) != self.queues[index].taken
    }

    fn decode(&mut self, index: usize, head: u16) -> Result<Job, String> {
        let queue = &self.queues[index];
        if u32::from(head) >= queue.size {
            return Err(format!("head {head} is beyond the queue"));
        }
        let (mut table, mut at, mut count) = (queue.descriptors, head, queue.size);
        let first = self.descriptor(table, head);
        if first.2 & 4 != 0 {
            if self.accepted & INDIRECT == 0 {
                return Err("indirect descriptor was not negotiated".into());
            }
            (table, at, count) = (first.0, 0, first.1 / 16);
        }
        let mut chain = Vec::new();
        loop {
            if u32::from(at) >= count || chain.len() > 3 {
                return Err("a chain leaves its table".into());
            }
            let descriptor = self.descriptor(table, at);
            chain.push(descriptor);
            if descriptor.2 & 1 == 0 {
                break;
            }
            at = descriptor.3;
        }
        let (header, status, data) = match chain.as_slice() {
            [header, status] => (header, status, None),
            [header, data, status] => (header, status, Some((data.0, data.1, data.2 & 2 != 0))),
            _ => return Err(format!("a chain of {}", chain.len())),
        };
        if header.1 != 16 || header.2 & 2 != 0 || status.1 != 1 || status.2 & 2 == 0 {
            return Err("header or status has the wrong shape".into());
        }
        let mut bytes = [0; 16];
        self.bus.read(header.0, &mut bytes).map_err(|fault| format!("{fault:?}"))?;
        let mut poison = [0];
        self.bus.read(status.0, &mut poison).map_err(|fault| format!("{fault:?}"))?;
        if poison[0] <= 2 {
            return Err("the status was not poisoned".into());
        }
        let kind = u32::from_le_bytes(bytes[..4].try_into().expect("4 bytes"));
        let sector = u64::from_le_bytes(bytes[8..].try_into().expect("8 bytes"));
        Ok(Job { queue: index, head, kind, sector, data, status: status.0, life: self.resets })
    }

    /// Does what the next request asks for, and completes it.
    pub(crate) fn complete(&mut self, which: usize) {
        let job = self.jobs.remove(which);
        let (status, len) = self.perform(&job);
        self.finish(&job, Some(status), len);
    }

    /// Completes everything, in order.
    pub(crate) fn complete_all(&mut self) {
        while !self.jobs.is_empty() {
            self.complete(0);
        }
    }

    /// Moves the data of a request.
    pub(crate) fn perform(&mut self, job: &Job) -> (u8, u32) {
        let start = usize::try_from(job.sector).unwrap_or(usize::MAX).saturating_mul(512);
        let range = |len: u32| start..start.saturating_add(len as usize);
        match (job.kind, job.data) {
            (0, Some((address, len, true))) => match self.disk.get(range(len)) {
                Some(bytes) => (u8::from(self.bus.write(address, bytes).is_err()), len + 1),
                None => (1, 1),
            },
            (1, Some((address, len, false))) if self.offered & READ_ONLY == 0 => match self.disk.get_mut(range(len)) {
                Some(bytes) => (u8::from(self.bus.read(address, bytes).is_err()), 1),
                None => (1, 1),
            },
            (4, None) => (if self.accepted & FLUSH == 0 { 2 } else { 0 }, 1),
            (11 | 13, Some((address, 16, false))) => {
                let mut bytes = [0; 16];
                let _ = self.bus.read(address, &mut bytes);
                let len = u32::from_le_bytes(bytes[8..12].try_into().expect("4 bytes")).saturating_mul(512);
                if bytes[..8] != job.sector.to_le_bytes() {
                    self.violation("segment and header differ");
                }
                match self.disk.get_mut(range(len)) {
                    Some(bytes) => {
                        bytes.fill(0);
                        (0, 1)
                    }
                    None => (1, 1),
                }
            }
            _ => (2, 1),
        }
    }

    /// Writes a request's status (or none) and a used entry with this length.
    pub(crate) fn finish(&mut self, job: &Job, status: Option<u8>, len: u32) {
        if let Some(status) = status {
            let _ = self.bus.write(job.status, &[status]);
        }
        self.push_used(job.queue, u32::from(job.head), len);
    }

    /// Writes a used entry.
    pub(crate) fn push_used(&mut self, index: usize, id: u32, len: u32) {
        let queue = &mut self.queues[index];
        let place = queue.used + 4 + 8 * (u64::from(queue.done) % u64::from(queue.size));
        queue.done = queue.done.wrapping_add(1);
        let (used, done) = (queue.used, queue.done);
        let _ = self.bus.write(place, &id.to_le_bytes());
        let _ = self.bus.write(place + 4, &len.to_le_bytes());
        let _ = self.bus.write(used + 2, &done.to_le_bytes());
    }

    /// Moves the used index without a used entry.
    pub(crate) fn jump_used(&mut self, index: usize, by: u16) {
        let queue = &mut self.queues[index];
        queue.done = queue.done.wrapping_add(by);
        let _ = self.bus.write(queue.used + 2, &queue.done.to_le_bytes());
    }

    /// Asks the driver not to notify, or to notify again.
    pub(crate) fn suppress(&mut self, index: usize, quiet: bool) {
        let _ = self.bus.write(self.queues[index].used, &u16::from(quiet).to_le_bytes());
    }
}
