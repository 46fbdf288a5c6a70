//! The disk that the loader was started from, by firmware's block protocol.
//!
//! Source: UEFI 2.10, section 13.9 (block I/O protocol) and chapter 10 (device paths).

use crate::memory;
use block::{Access, Geometry, WriteCache};
use boot::last_words::{self, Medium, Memory};
use boot::machine::build_id::build_id;
use boot::{Error, log};
use core::time::Duration;
use uefi::boot::{self as firmware, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol, SearchType};
use uefi::proto::ProtocolPointer;
use uefi::proto::device_path::DevicePath;
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::media::block::BlockIO;
use uefi::{Handle, Identify};

/// Bytes a call.
const TRANSFER: u32 = 32 * 1024;
/// Bytes of the node that ends a device path.
const END_NODE: usize = 4;

/// Writes the log to the console of the disk that the loader was started from.
pub(crate) fn write_last_words() {
    let reason: Result<(), Error> = (|| {
        let mut disk = Disk::open().ok_or(Error::Firmware("block protocol for the disk that it started from"))?;
        let start = memory::allocate("the log", Memory::SIZE)?;
        // SAFETY: just allocated: zeroed, of whole pages, mapped, and never given back.
        let memory = unsafe { Memory::new(start) };
        last_words::write(&mut disk, memory, build_id(), ticks_per_us());
        Ok(())
    })();
    if let Err(error) = reason {
        log::warn(format_args!("this log is not on the disk: {error}"));
    }
}

/// How fast the time stamp counter runs.
fn ticks_per_us() -> u64 {
    const WAIT_US: u64 = 2000;
    let before = log::time_stamp();
    firmware::stall(Duration::from_micros(WAIT_US));
    log::time_stamp().saturating_sub(before) / WAIT_US
}

/// Uses a protocol beside firmware's own drivers: to have it exclusively would take the disk from them.
fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> Option<ScopedProtocol<P>> {
    let params = OpenProtocolParams { handle, agent: firmware::image_handle(), controller: None };
    // SAFETY: firmware's drivers wait for us to return, and take no device away before that.
    unsafe { firmware::open_protocol(params, OpenProtocolAttributes::GetProtocol) }.ok()
}

/// A whole disk.
struct Disk(ScopedProtocol<BlockIO>);

impl Disk {
    /// The disk with the partition that the loader's file is on: no partition itself, and its path is how the partition's begins.
    fn open() -> Option<Self> {
        let image = open::<LoadedImage>(firmware::image_handle())?;
        let partition = open::<DevicePath>(image.device()?)?;
        let handles = firmware::locate_handle_buffer(SearchType::ByProtocol(&BlockIO::GUID)).ok()?;
        let leads_there = |handle: Handle| {
            let path = open::<DevicePath>(handle)?;
            let nodes = path.as_bytes().len().checked_sub(END_NODE).filter(|len| *len > 0)?;
            partition.as_bytes().starts_with(path.as_bytes().get(..nodes)?).then_some(())
        };
        let disks = handles.iter().filter_map(|&handle| {
            let disk = open::<BlockIO>(handle)?;
            let is_disk = !disk.media().is_logical_partition() && disk.media().is_media_present();
            (is_disk && leads_there(handle).is_some()).then_some(disk)
        });
        // A block size that the console's format does not know is found out by the geometry's users, but for these.
        let sane = |disk: &ScopedProtocol<BlockIO>| (512..=TRANSFER).contains(&disk.media().block_size());
        disks.filter(sane).map(Self).next()
    }
}

impl Medium for Disk {
    fn geometry(&self) -> Geometry {
        let media = self.0.media();
        let read_only = Access::ReadOnly("firmware says that it is read-only");
        Geometry {
            block_size: media.block_size(),
            block_count: media.last_block().saturating_add(1),
            max_transfer_blocks: TRANSFER / media.block_size(),
            max_write_zeroes_blocks: 0,
            queue_depth: 1,
            write_cache: WriteCache::Volatile,
            access: if media.is_read_only() { read_only } else { Access::ReadWrite },
        }
    }

    fn read(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), u64> {
        let media = self.0.media().media_id();
        self.0.read_blocks(media, first_block, buffer).map_err(|error| error.status().0 as u64)
    }

    fn write(&mut self, first_block: u64, bytes: &[u8]) -> Result<(), u64> {
        let media = self.0.media().media_id();
        self.0.write_blocks(media, first_block, bytes).map_err(|error| error.status().0 as u64)
    }

    fn flush(&mut self) -> Result<(), u64> {
        self.0.flush_blocks().map_err(|error| error.status().0 as u64)
    }
}
