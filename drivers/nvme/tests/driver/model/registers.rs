//! The model's registers, and the state machine behind CC and CSTS.

use platform_fake::RegisterModel;

use super::Device;

impl Device {
    /// Brings ready and shutdown status up to date.
    pub(super) fn settle(&mut self) {
        let now = self.clock.peek();
        if self.changes_at.is_some_and(|at| at <= now) {
            let enabled = self.configuration & 1 != 0;
            let is_stuck = if enabled { self.faults.never_ready } else { self.faults.never_stops };
            if is_stuck {
                return;
            }
            self.changes_at = None;
            match enabled {
                true if self.faults.fatal_on_enable => self.fatal = true,
                true => self.ready = true,
                false => self.stop(),
            }
        }
    }

    /// A controller level reset: queues are gone, and so is what was in flight.
    pub(super) fn stop(&mut self) {
        self.ready = false;
        self.fatal = false;
        self.stopped_midway = false;
        self.shutdown_at = None;
        self.submission.clear();
        self.completion.clear();
        self.pending.clear();
        self.in_flight.clear();
    }

    pub(super) fn configure(&mut self, value: u32) {
        let (was, is) = (self.configuration & 1 != 0, value & 1 != 0);
        self.configuration = value;
        let now = self.clock.peek();
        if !was && is {
            self.enables += 1;
            if value >> 16 & 0xF != 6 || value >> 20 & 0xF != 4 || value >> 7 & 0xF != 0 {
                self.violation("wrong entry or page sizes in CC");
            }
            if self.ready {
                self.violation("enabled before it had stopped");
            }
            let entries = |from_zero: u32| (from_zero & 0xFFF) + 1;
            for (what, base) in [("ASQ", self.asq), ("ACQ", self.acq)] {
                if base == 0 || base & 0xFFF != 0 {
                    self.violation(format!("{what} is {base:#x}"));
                }
            }
            let (submission, completion) = (entries(self.aqa), entries(self.aqa >> 16));
            self.create_submission(0, self.asq, submission, 0);
            self.create_completion(0, self.acq, completion);
            self.changes_at = Some(now + self.options.ready_ns);
        } else if was && !is {
            if !self.ready && !self.fatal && !self.faults.never_ready {
                self.violation("disabled before it was ready");
            }
            self.changes_at = Some(now + self.options.stop_ns);
        }
        if value >> 14 & 3 != 0 && self.shutdown_at.is_none() {
            self.shutdown_at = Some(now + self.options.stop_ns);
        }
    }

    fn status(&mut self) -> u32 {
        self.settle();
        let shutdown = match self.shutdown_at {
            Some(at) if at <= self.clock.peek() => 2,
            Some(_) => 1,
            None => 0,
        };
        u32::from(self.ready) | u32::from(self.fatal) << 1 | shutdown << 2
    }

    fn capabilities(&self) -> u64 {
        let options = &self.options;
        options.capability_bits
            | u64::from(options.max_entries - 1)
            | u64::from(options.timeout_units) << 24
            | u64::from(options.doorbell_shift) << 32
    }
}

impl RegisterModel for Device {
    fn read(&mut self, offset: usize, bytes: usize) -> u64 {
        self.reads += 1;
        if self.faults.gone {
            return u64::MAX;
        }
        if bytes != 4 {
            self.violation(format!("{bytes} byte read at {offset:#x}"));
        }
        let value = match offset {
            0x00 => self.capabilities(),
            0x04 => self.capabilities() >> 32,
            0x08 => u64::from(self.options.version),
            0x14 => u64::from(self.configuration),
            0x1C => u64::from(self.status()),
            0x68 => u64::from(self.options.ready_timeouts),
            _ => {
                self.violation(format!("read of register {offset:#x}"));
                0
            }
        };
        value & 0xFFFF_FFFF
    }

    fn write(&mut self, offset: usize, bytes: usize, value: u64) {
        if self.faults.gone {
            return;
        }
        self.settle();
        if bytes != 4 {
            self.violation(format!("{bytes} byte write at {offset:#x}"));
        }
        if (0x24..0x38).contains(&offset) && self.configuration & 1 != 0 {
            self.violation(format!("register {offset:#x} written while enabled"));
        }
        match offset {
            0x14 => self.configure(value as u32),
            0x24 => self.aqa = value as u32,
            0x28 => self.asq = self.asq & !0xFFFF_FFFF | value,
            0x2C => self.asq = self.asq & 0xFFFF_FFFF | value << 32,
            0x30 => self.acq = self.acq & !0xFFFF_FFFF | value,
            0x34 => self.acq = self.acq & 0xFFFF_FFFF | value << 32,
            0x1000.. => self.doorbell(offset - 0x1000, value as u32),
            _ => self.violation(format!("write of register {offset:#x}")),
        }
    }
}
