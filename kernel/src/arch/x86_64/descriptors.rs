//! Segments, the task state segment, and the table of interrupt gates.

use super::{stacks, trap};
use core::cell::UnsafeCell;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, FS, GS, SS, Segment};
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::idt::{Entry, HandlerFunc};
use x86_64::structures::tss::TaskStateSegment;

/// Places in the interrupt stack table. Every vector has one: a handler never runs on the stack of what it interrupted, which
/// may be exhausted, or hold live data below its stack pointer.
#[derive(Clone, Copy)]
enum StackIndex {
    Fault = 0,
    DoubleFault = 1,
    Nmi = 2,
    MachineCheck = 3,
    Interrupt = 4,
    Debug = 5,
}

impl StackIndex {
    const fn of_vector(vector: u8) -> Self {
        match vector {
            trap::DEBUG => Self::Debug,
            trap::NMI => Self::Nmi,
            trap::DOUBLE_FAULT => Self::DoubleFault,
            trap::MACHINE_CHECK => Self::MachineCheck,
            0..32 => Self::Fault,
            _ => Self::Interrupt,
        }
    }
}

struct Tables {
    gdt: GlobalDescriptorTable,
    code: SegmentSelector,
    data: SegmentSelector,
    task: SegmentSelector,
}

/// The gates. Written once by [`load`], before the processor knows of them.
struct Gates(UnsafeCell<[Entry<HandlerFunc>; 256]>);

// SAFETY: only `load` writes, once, before anybody reads.
unsafe impl Sync for Gates {}

/// The task state. The processor reads it whenever it takes an exception or interrupt.
struct Task(UnsafeCell<TaskStateSegment>);

// SAFETY: `load` writes before the processor knows of it, and `use_crash_stacks` by single aligned stores afterwards; nobody has a
// reference in between.
unsafe impl Sync for Task {}

static TASK: Task = Task(UnsafeCell::new(TaskStateSegment::new()));
static TABLES: Once<Tables> = Once::new();
static GATES: Gates = Gates(UnsafeCell::new([const { Entry::missing() }; 256]));

/// Makes the processor use our own segments, task state and gates: from here on, every exception ends up in [`trap`].
/// To be called once, on the boot processor.
pub fn load() {
    let mut task = TaskStateSegment::new();
    // The structure is packed, so the table is written as a whole.
    let mut table = task.interrupt_stack_table;
    table[StackIndex::Fault as usize] = VirtAddr::new(stacks::FAULT.top());
    table[StackIndex::DoubleFault as usize] = VirtAddr::new(stacks::DOUBLE_FAULT.top());
    table[StackIndex::Nmi as usize] = VirtAddr::new(stacks::NMI.top());
    table[StackIndex::MachineCheck as usize] = VirtAddr::new(stacks::MACHINE_CHECK.top());
    table[StackIndex::Interrupt as usize] = VirtAddr::new(stacks::INTERRUPT.top());
    table[StackIndex::Debug as usize] = VirtAddr::new(stacks::DEBUG.top());
    task.interrupt_stack_table = table;
    // SAFETY: to be called once, before the processor uses the structure, as the function's documentation says.
    unsafe { *TASK.0.get() = task };
    let tables = TABLES.call_once(|| {
        let mut gdt = GlobalDescriptorTable::new();
        let code = gdt.append(Descriptor::kernel_code_segment());
        let data = gdt.append(Descriptor::kernel_data_segment());
        // SAFETY: the structure is static, and what is written to it later leaves it a valid one.
        let task = gdt.append(unsafe { Descriptor::tss_segment_unchecked(TASK.0.get()) });
        Tables { gdt, code, data, task }
    });
    tables.gdt.load();
    // SAFETY: the selectors are those of the flat 64-bit kernel segments and the task state that were just appended to the
    // table in use, which is static.
    unsafe {
        CS::set_reg(tables.code);
        SS::set_reg(tables.data);
        DS::set_reg(tables.data);
        ES::set_reg(tables.data);
        FS::set_reg(SegmentSelector(0));
        GS::set_reg(SegmentSelector(0));
        load_tss(tables.task);
    }
    load_gates();
}

fn load_gates() {
    // SAFETY: nobody else has a reference: `load` runs once, and the processor does not know the table yet.
    let gates = unsafe { &mut *GATES.0.get() };
    for (gate, vector) in gates.iter_mut().zip(0..=u8::MAX) {
        // SAFETY: `stub` gives the address of the code that saves the frame of just this vector, with or without error
        // code; the stack index has a stack in the task state.
        unsafe {
            gate.set_handler_addr(VirtAddr::new(trap::stub(vector)))
                .set_stack_index(StackIndex::of_vector(vector) as u16);
        }
    }
    let pointer =
        DescriptorTablePointer { limit: (size_of_val(gates) - 1) as u16, base: VirtAddr::new(GATES.0.get() as u64) };
    // SAFETY: the table is static, and all of its gates are valid.
    unsafe { lidt(&pointer) };
}

/// Gives interrupts and non-maskable interrupts other stacks from here on: a crash may have begun on theirs, and what it has to say may
/// lie there.
pub fn use_crash_stacks() {
    let stacks = [(StackIndex::Interrupt, stacks::CRASH_INTERRUPT.top()), (StackIndex::Nmi, stacks::CRASH_NMI.top())];
    for (index, top) in stacks {
        // SAFETY: the entry lies inside the structure, which is static; it is not aligned to 8 bytes. The processor may read it at any
        // time: either the old or the new stack, or, as x86 does not promise one store of these bytes, at worst of a non-maskable
        // interrupt in this very instruction, nothing in between, since it is taken between instructions.
        unsafe {
            let table = (&raw mut (*TASK.0.get()).interrupt_stack_table).cast::<VirtAddr>();
            table.add(index as usize).write_unaligned(VirtAddr::new(top));
        }
    }
}

/// Makes the delivery of a page fault fault again, which is a double fault.
pub fn disable_page_fault_gate() {
    // SAFETY: only this processor reads the table, and no reference to it lives outside of `load_gates`, which is over. A gate
    // that is not present is a valid one.
    let gates = unsafe { &mut *GATES.0.get() };
    gates[usize::from(trap::PAGE_FAULT)] = Entry::missing();
}

/// Makes any further exception a triple fault: the processor resets.
pub fn unload_gates() {
    let pointer = DescriptorTablePointer { limit: 0, base: VirtAddr::new(0) };
    // SAFETY: there is no memory that an empty table would make the processor misread.
    unsafe { lidt(&pointer) };
}
