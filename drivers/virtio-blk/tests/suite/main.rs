//! The driver against a device made of memory, which does what a test tells it to.

mod model;

mod completions;
mod foreign;
mod initialisation;
mod probe;
mod queues;
mod takeover;
mod threads;
mod timeouts;
mod transports;
