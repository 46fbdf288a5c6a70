//! What the boot loader handed over of the firmware, kept for the survey.

use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegion;
use spin::Once;

struct Firmware {
    regions: &'static [MemoryRegion],
    root_pointer: Option<u64>,
    smbios: Option<u64>,
}

static FIRMWARE: Once<Firmware> = Once::new();

/// Keeps what the survey needs.
pub fn note(boot_info: &'static BootInfo, root_pointer: Option<u64>, smbios: Option<u64>) {
    FIRMWARE.call_once(|| Firmware { regions: &boot_info.memory_regions, root_pointer, smbios });
}

/// The memory map; empty before it was noted.
pub fn regions() -> &'static [MemoryRegion] {
    FIRMWARE.get().map_or(&[], |firmware| firmware.regions)
}

/// Physical address of ACPI's root pointer.
pub(super) fn root_pointer() -> Option<u64> {
    FIRMWARE.get().and_then(|firmware| firmware.root_pointer)
}

/// Physical address of an entry point of SMBIOS, if the loader knows one.
pub(super) fn smbios() -> Option<u64> {
    FIRMWARE.get().and_then(|firmware| firmware.smbios)
}
