//! What a program without an operating system needs on this target.
#![no_std]
