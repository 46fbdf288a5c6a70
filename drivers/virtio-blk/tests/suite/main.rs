//! The driver against a device made of memory, which does what a test tells it to.

mod model;

mod transports;
