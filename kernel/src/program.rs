//! What makes a bare-metal program of a `main` function.

pub use bootloader_api;
pub use freestanding;

use bootloader_api::BootloaderConfig;
use bootloader_api::config::Mapping;

/// Bytes of stack for the program's `main`.
pub const STACK_SIZE: u64 = 128 << 10;

/// What the kernel asks of its boot loader: all physical memory mapped, and a stack with a guard page.
pub const BOOTLOADER_CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.kernel_stack_size = STACK_SIZE;
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    // The lower half stays empty, so that null pointers and most wild ones fault.
    config.mappings.dynamic_range_start = Some(0xFFFF_8000_0000_0000);
    config
};

/// Makes a bare-metal program of a function `fn(`[`Start`](crate::start::Start)`) -> !`; to be called once, in a binary crate
/// with `#![no_std]` and `#![no_main]`, whose `build.rs` passes on [`freestanding::link::FIXED`].
///
/// ```ignore
/// #![no_std]
/// #![no_main]
///
/// kernel::program!(main);
///
/// fn main(start: kernel::Start) -> ! {
///     let mut kernel = start.bring_up();
///     log::info!("hello, disks");
///     kernel.finish()
/// }
/// ```
#[macro_export]
macro_rules! program {
    ($main:path) => {
        const _: () = {
            use $crate::program::bootloader_api::{self, BootInfo};

            static CONFIG: bootloader_api::BootloaderConfig = $crate::program::BOOTLOADER_CONFIG;
            bootloader_api::entry_point!(enter, config = &CONFIG);

            fn enter(boot_info: &'static mut BootInfo) -> ! {
                // SAFETY: called by the entry point, which the boot loader calls once, on the stack that it set up.
                unsafe { $crate::arch::entry::enter(boot_info, run) }
            }

            extern "C" fn run(boot_info: &'static mut BootInfo) -> ! {
                let main: fn($crate::start::Start) -> ! = $main;
                main($crate::start::Start::new(boot_info))
            }

            #[panic_handler]
            fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
                $crate::crash::from_panic(info)
            }

            #[global_allocator]
            static HEAP: $crate::memory::heap::GlobalHeap = $crate::memory::heap::GlobalHeap;
        };
        $crate::program::freestanding::memory_functions!();
    };
}
