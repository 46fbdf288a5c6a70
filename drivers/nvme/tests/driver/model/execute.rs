//! What the model does when it obeys a command.

use super::prp::pieces;
use super::{Device, Entry};

const SUCCESS: u16 = 0;
const INVALID_OPCODE: u16 = 0x4001;
const INVALID_FIELD: u16 = 0x4002;
const DATA_TRANSFER: u16 = 0x0004;
const INVALID_NAMESPACE: u16 = 0x400B;
const OUT_OF_RANGE: u16 = 0x4080;
const WRITE_PROTECTED: u16 = 0x4020;
const INVALID_QUEUE: u16 = 0x4101;
const INVALID_SIZE: u16 = 0x4102;
const INVALID_LOG: u16 = 0x4109;

impl Device {
    /// Does the first `part` of a command's data, and returns its status and result.
    pub(super) fn execute(&mut self, entry: &Entry, part: f64) -> (u16, u32) {
        if entry.is_io() { (self.execute_io(entry, part), 0) } else { self.execute_admin(entry) }
    }

    fn execute_admin(&mut self, entry: &Entry) -> (u16, u32) {
        match entry.opcode {
            0x01 | 0x05 => (self.create_queue(entry), 0),
            0x02 => (self.log_page(entry), 0),
            0x06 => (self.identify(entry), 0),
            0x08 => self.abort(entry),
            0x09 if entry.dwords[0] == 7 => {
                let granted = u32::from(self.options.max_pairs) - 1;
                (SUCCESS, granted << 16 | granted)
            }
            0x0A if entry.dwords[0] == 6 => match self.options.write_cache {
                Some(on) => (SUCCESS, u32::from(on)),
                None => (INVALID_FIELD, 0),
            },
            _ => (INVALID_OPCODE, 0),
        }
    }

    fn create_queue(&mut self, entry: &Entry) -> u16 {
        let (id, entries) = (entry.dwords[0] as u16, (entry.dwords[0] >> 16) + 1);
        if id == 0 || id > self.options.max_pairs {
            return INVALID_QUEUE;
        }
        if entries < 2 || entries > self.options.max_entries {
            return INVALID_SIZE;
        }
        if !entry.prp1.is_multiple_of(4096) || entry.dwords[1] & 1 == 0 {
            self.violation("queue not contiguous, or not aligned to a page");
        }
        if entry.opcode == 0x05 {
            if self.completion.contains_key(&id) {
                return INVALID_QUEUE;
            }
            if entry.dwords[1] & 2 != 0 {
                self.violation("interrupts enabled");
            }
            self.create_completion(id, entry.prp1, entries);
        } else {
            let completions = (entry.dwords[1] >> 16) as u16;
            if self.submission.contains_key(&id) || !self.completion.contains_key(&completions) {
                return INVALID_QUEUE;
            }
            self.create_submission(id, entry.prp1, entries, completions);
        }
        SUCCESS
    }

    fn identify(&mut self, entry: &Entry) -> u16 {
        let medium = self.media.get(&entry.nsid).filter(|medium| !medium.detached);
        let mut page = match entry.dwords[0] & 0xFF {
            0 => medium.map(|medium| medium.identify()).unwrap_or_else(|| vec![0; 4096]),
            1 => self.identify_controller(),
            2 => {
                let ids = self.media.iter().filter(|(id, medium)| **id > entry.nsid && !medium.detached);
                let mut page: Vec<u8> = ids.take(1024).flat_map(|(id, _)| id.to_le_bytes()).collect();
                page.resize(4096, 0);
                page
            }
            3 => match medium {
                Some(medium) => medium.descriptors(),
                None => return INVALID_NAMESPACE,
            },
            _ => return INVALID_FIELD,
        };
        self.spoil(entry.dwords[0] & 0xFF, &mut page);
        self.write_host(entry, &page)
    }

    fn identify_controller(&self) -> Vec<u8> {
        let options = &self.options;
        let mut page = vec![0; 4096];
        page[..2].copy_from_slice(&0x1234u16.to_le_bytes());
        page[4..24].copy_from_slice(&options.serial);
        page[24..64].fill(b' ');
        page[24..35].copy_from_slice(b"Model drive");
        page[64..72].copy_from_slice(b"1.0     ");
        page[77] = options.mdts;
        page[80..84].copy_from_slice(&options.version.to_le_bytes());
        for (index, delay) in options.retry_delays.iter().enumerate() {
            page[128 + 2 * index..130 + 2 * index].copy_from_slice(&delay.to_le_bytes());
        }
        page[258] = 3;
        page[262] = 63;
        page[512] = 0x66;
        page[513] = 0x44;
        let highest = self.media.keys().max().copied().unwrap_or(0);
        page[516..520].copy_from_slice(&highest.to_le_bytes());
        page[520] = if options.write_zeroes { 8 } else { 0 };
        page[525] = u8::from(options.write_cache.is_some());
        page[536..540].copy_from_slice(&options.scatter_gather.to_le_bytes());
        page
    }

    fn log_page(&mut self, entry: &Entry) -> u16 {
        let len = ((entry.dwords[0] >> 16) as usize + 1) * 4;
        let mut page = vec![0; len];
        match entry.dwords[0] & 0xFF {
            1 if len >= 64 => {
                page[..8].copy_from_slice(&3u64.to_le_bytes());
                page[12..14].copy_from_slice(&(0x0281u16 << 1).to_le_bytes());
                page[16..24].copy_from_slice(&99u64.to_le_bytes());
                page[24..28].copy_from_slice(&1u32.to_le_bytes());
            }
            2 if len == 512 => {
                page[1..3].copy_from_slice(&300u16.to_le_bytes());
                page[3] = 100;
            }
            _ => return INVALID_LOG,
        }
        self.write_host(entry, &page)
    }

    fn abort(&mut self, entry: &Entry) -> (u16, u32) {
        let (queue, id) = (entry.dwords[0] as u16, (entry.dwords[0] >> 16) as u16);
        let found = self.pending.iter().position(|pending| pending.entry.queue == queue && pending.entry.id == id);
        let Some(pending) = found.and_then(|index| self.pending.remove(index)) else { return (SUCCESS, 1) };
        self.complete(&pending.entry, id, queue, None, 0x0007, 0);
        (SUCCESS, 0)
    }

    fn execute_io(&mut self, entry: &Entry, part: f64) -> u16 {
        let Some(medium) = self.media.get(&entry.nsid).filter(|medium| !medium.detached) else {
            return INVALID_NAMESPACE;
        };
        let (blocks, size) = (medium.options.blocks, medium.block_size());
        let protected = medium.options.write_protected;
        if entry.opcode == 0x00 {
            return self.with_medium(entry.nsid, |medium| medium.flush());
        }
        if entry.first_block().checked_add(entry.blocks()).is_none_or(|end| end > blocks) {
            return OUT_OF_RANGE;
        }
        let len = entry.blocks() as usize * size;
        let too_long = self.options.mdts != 0 && len > 4096 << self.options.mdts;
        if too_long && entry.opcode != 0x08 {
            self.violation(format!("transfer of {len} bytes"));
            return INVALID_FIELD;
        }
        let done = (entry.blocks() as f64 * part) as u64;
        let durable = entry.is_fua() || self.options.write_cache != Some(true);
        let first = entry.first_block();
        match entry.opcode {
            0x01 | 0x08 if protected => WRITE_PROTECTED,
            0x01 => match self.read_host(entry, len) {
                Err(status) => status,
                Ok(data) => self.with_medium(entry.nsid, |medium| {
                    for (block, piece) in (first..first + done).zip(data.chunks(size)) {
                        medium.write(block, piece, durable);
                    }
                }),
            },
            0x02 => {
                let data = self.media[&entry.nsid].bytes(first, done);
                self.write_host(entry, &data)
            }
            0x08 => self.with_medium(entry.nsid, |medium| {
                for block in first..first + done {
                    medium.write(block, &vec![0; size], durable);
                }
            }),
            _ => INVALID_OPCODE,
        }
    }

    fn with_medium(&mut self, nsid: u32, action: impl FnOnce(&mut super::Medium)) -> u16 {
        self.media.get_mut(&nsid).map(action).map_or(INVALID_NAMESPACE, |()| SUCCESS)
    }

    fn write_host(&mut self, entry: &Entry, data: &[u8]) -> u16 {
        let pieces = match pieces(&self.bus, entry, data.len()) {
            Ok(pieces) => pieces,
            Err(what) => {
                self.violation(what);
                return DATA_TRANSFER;
            }
        };
        let mut rest = data;
        for (at, len) in pieces {
            let (now, later) = rest.split_at(len);
            rest = later;
            if self.bus.write(at, now).is_err() {
                return DATA_TRANSFER;
            }
        }
        SUCCESS
    }

    fn read_host(&mut self, entry: &Entry, len: usize) -> Result<Vec<u8>, u16> {
        let pieces = pieces(&self.bus, entry, len).map_err(|what| {
            self.violation(what);
            DATA_TRANSFER
        })?;
        let mut data = vec![0; len];
        let mut filled = 0;
        for (at, len) in pieces {
            self.bus.read(at, &mut data[filled..filled + len]).map_err(|_| DATA_TRANSFER)?;
            filled += len;
        }
        Ok(data)
    }
}
