//! What users are promised: one file is one promise.
//!
//! They are one program, so that they are linked once, and those that run guests share the processors fairly.
#![forbid(unsafe_code)]

mod block_sizes;
mod campaigns;
mod crash_records;
mod damaged_images;
mod decoys;
mod diagnosis;
mod dying_disk;
mod every_line;
mod following;
mod golden;
mod hand_overs;
mod hard_crashes;
mod images;
mod many_consoles;
mod no_disks;
mod original_reader;
mod original_recipe;
mod other_machines;
mod power_cuts;
mod run_command;
mod screen;
mod wrap;
