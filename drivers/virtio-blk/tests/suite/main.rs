//! The driver against a device made of memory that tests script.

mod model;

mod chaos;
mod completions;
mod foreign;
mod initialisation;
mod probe;
mod queues;
mod takeover;
mod threads;
mod timeouts;
mod transports;
