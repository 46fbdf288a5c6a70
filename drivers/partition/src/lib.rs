//! Where on a block device a console may lie: GPT, MBR, FAT files.
#![no_std]
#![forbid(unsafe_code)]
