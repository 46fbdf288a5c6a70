//! Where things are on a disk that a BIOS boots from.
//!
//! | where | what |
//! |---|---|
//! | first sector | master boot record: the program's section `.mbr`, its first [`MBR_CODE_SIZE`] bytes, with the place of the second stage patched in at [`MBR_STAGE2`]; behind it the protective partition of the GPT |
//! | a BIOS boot partition | the second stage: the file of the program `loader-bios`, as far as its loadable segments reach. It is loaded to [`STAGE2_ADDRESS`], which is what the program is linked to, its ELF header first; the master boot record jumps to the header's `e_entry` in real mode, with the drive's number in dl |
//! | the EFI system partition | a FAT volume with [`KERNEL`], [`COMMAND_LINE`], and `\EFI\BOOT\BOOTX64.EFI` for machines with UEFI |
//!
//! Sectors have 512 bytes.

/// Bytes of the master boot record before the disk signature and the partition table.
pub const MBR_CODE_SIZE: usize = 440;
/// Where the master boot record has the second stage's place: first sector (8 bytes), number of sectors (2 bytes).
pub const MBR_STAGE2: usize = 424;
/// Physical address to which the second stage is loaded.
pub const STAGE2_ADDRESS: u64 = 0x1_0000;
/// Physical address below which the second stage must end, with its zeroed data: what BIOS keeps for itself may start there.
pub const STAGE2_END: u64 = 0x9_0000;
/// Largest second stage in sectors.
pub const STAGE2_MAX_SECTORS: u16 = ((STAGE2_END - STAGE2_ADDRESS) / 512) as u16;
/// Type of a BIOS boot partition, 21686148-6449-6e6f-744e-656564454649, as it lies on the disk.
pub const BIOS_BOOT_PARTITION: [u8; 16] = *b"Hah!IdontNeedEFI";
/// Path of the kernel's file on the EFI system partition.
pub const KERNEL: &str = "/blockconsole/kernel";
/// Path of the command line on the EFI system partition; the file may be missing.
pub const COMMAND_LINE: &str = "/blockconsole/cmdline.txt";
