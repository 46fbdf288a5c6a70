//! PCI configuration space, base address registers and capabilities.
#![no_std]
