//! PCI functions: who they are, where their registers are, their links.

use super::{TARGET, finding};
use crate::devices::pci::Config;
use crate::devices::platform::Machine;
use log::info;
use pci::{Address, ConfigSpace, Function};
use platform::{Platform, Registers};

/// Base address registers of a device and of a bridge (PCI 3.0, 6.2.5.1 and PCI-to-PCI Bridge 1.2, 3.2).
const BARS: u16 = 0x10;
const DEVICE_BARS: u16 = 6;
const BRIDGE_BARS: u16 = 2;

pub(super) fn describe(config: &Config) {
    let mut count = 0;
    for function in config.functions() {
        count += 1;
        describe_one(&function);
    }
    info!(target: TARGET, "pci: functions={count}");
}

fn describe_one<C: ConfigSpace + ?Sized>(function: &Function<'_, C>) {
    let identity = function.identity();
    let (base, sub, interface) = identity.class.code();
    let address = function.address();
    info!(
        target: TARGET,
        "pci: {address} id={:04x}:{:04x} subsystem={:04x}:{:04x} class={base:02x}{sub:02x}{interface:02x} kind=\"{}\" revision={:#04x}",
        identity.vendor,
        identity.device,
        identity.subsystem.0,
        identity.subsystem.1,
        class_name(base, sub),
        identity.revision
    );
    if let Some(device) = virtio_name(identity.vendor, identity.device) {
        // A disk is its driver's alone, and is described by that.
        match (device != "block").then(|| virtio_features(function)).flatten() {
            Some(features) => info!(target: TARGET, "pci: {address} virtio={device} features={features:#x}"),
            None => info!(target: TARGET, "pci: {address} virtio={device}"),
        }
    }
    describe_bars(function, address);
    let Some(link) = function.link() else { return };
    info!(
        target: TARGET,
        "pci: {address} link=x{} of=x{} generation={} of={}",
        link.width,
        link.max_width,
        link.speed,
        link.max_speed
    );
    // A link without a partner has no width. A lower speed may be a matter of saving power; a lower width is not.
    let is_up = link.active.unwrap_or(true) && link.present.unwrap_or(true) && link.width > 0;
    if is_up && link.width < link.max_width {
        finding(format_args!(
            "pci: {address}: its link has {} of {} lanes; look at slot and card, unless the slot has no more",
            link.width, link.max_width
        ));
    }
}

/// Addresses as they were set up. Sizes are not asked for: that would switch registers off that drivers are using.
fn describe_bars<C: ConfigSpace + ?Sized>(function: &Function<'_, C>, address: Address) {
    let count = match function.header() {
        pci::Header::Device => DEVICE_BARS,
        pci::Header::Bridge => BRIDGE_BARS,
        _ => 0,
    };
    let mut index = 0;
    while index < count {
        let low = function.read32(BARS + 4 * index);
        let is_wide = low & 0b111 == 0b100 && index + 1 < count;
        let high = if is_wide { u64::from(function.read32(BARS + 4 * (index + 1))) << 32 } else { 0 };
        if low & 1 != 0 && low & !3 != 0 {
            info!(target: TARGET, "pci: {address} bar={index} port={:#x}", low & !3);
        } else if low & 1 == 0 && (low & !0xF != 0 || high != 0) {
            let kind = if low & 8 != 0 { "prefetchable" } else { "registers" };
            let start = high | u64::from(low & !0xF);
            info!(target: TARGET, "pci: {address} bar={index} memory={start:#x} bits={} kind={kind}", if is_wide { 64 } else { 32 });
        }
        index += if is_wide { 2 } else { 1 };
    }
}

/// The classes that one looks for (PCI Code and ID Assignment 1.11, 1.2 to 1.14).
fn class_name(base: u8, sub: u8) -> &'static str {
    match (base, sub) {
        (0x01, 0x04) => "RAID controller",
        (0x01, 0x06) => "SATA controller",
        (0x01, 0x08) => "NVMe controller",
        (0x01, _) => "storage",
        (0x02, _) => "network",
        (0x03, _) => "display",
        (0x04, _) => "multimedia",
        (0x05, _) => "memory",
        (0x06, 0x00) => "host bridge",
        (0x06, 0x01) => "ISA bridge",
        (0x06, 0x04) => "PCI bridge",
        (0x06, _) => "bridge",
        (0x07, _) => "communication",
        (0x08, _) => "system",
        (0x0C, 0x03) => "USB controller",
        (0x0C, _) => "serial bus",
        (0x10, _) => "encryption",
        (0x12, _) => "accelerator",
        _ => "other",
    }
}

/// The features that a virtio device offers, by its common configuration (virtio 1.3, 4.1.4.3), if firmware has set that up.
fn virtio_features<C: ConfigSpace + ?Sized>(function: &Function<'_, C>) -> Option<u64> {
    const VENDOR_SPECIFIC: u8 = 9;
    const COMMON: u8 = 1;
    let is_common = |offset: &u16| function.read8(offset + 3) == COMMON;
    let mut offsets = function.capabilities().filter(|found| found.id == VENDOR_SPECIFIC).map(|found| found.offset);
    let offset = offsets.find(is_common)?;
    let bar = u16::from(function.read8(offset + 4));
    let low = Some(bar).filter(|bar| *bar < DEVICE_BARS).map(|bar| function.read32(BARS + 4 * bar))?;
    let is_wide = low & 0b111 == 0b100 && bar + 1 < DEVICE_BARS;
    let high = if is_wide { u64::from(function.read32(BARS + 4 * (bar + 1))) << 32 } else { 0 };
    let start = high | u64::from(low & !0xF);
    let is_on = function.command().contains(pci::spec::Command::MEMORY);
    if low & 1 != 0 || start == 0 || !is_on {
        return None;
    }
    let registers = Machine.map_registers(start + u64::from(function.read32(offset + 8)), 8)?;
    let half = |select| {
        registers.write32(0, select);
        u64::from(registers.read32(4))
    };
    Some(half(1) << 32 | half(0))
}

/// What a virtio device is (virtio 1.3, 4.1.2 and 5).
fn virtio_name(vendor: u16, device: u16) -> Option<&'static str> {
    let number = match (vendor, device) {
        (0x1AF4, 0x1040..=0x107F) => device - 0x1040,
        (0x1AF4, 0x1000) => 1,
        (0x1AF4, 0x1001) => 2,
        (0x1AF4, 0x1002) => 5,
        (0x1AF4, 0x1003) => 3,
        (0x1AF4, 0x1004) => 8,
        (0x1AF4, 0x1005) => 4,
        _ => return None,
    };
    Some(match number {
        1 => "network",
        2 => "block",
        3 => "console",
        4 => "entropy",
        5 => "balloon",
        8 => "scsi",
        9 => "9p",
        16 => "gpu",
        18 => "input",
        19 => "socket",
        26 => "file-system",
        27 => "pmem",
        _ => "other",
    })
}
