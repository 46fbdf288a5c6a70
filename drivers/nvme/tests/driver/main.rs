//! The driver against a model controller, which behaves or misbehaves as told.
//!
//! The model has registers and queues as the specification says, sees memory at other addresses than the
//! processor, and complains about a host that breaks the rules. It shares no code and no
//! constants with the driver, so that both cannot be wrong in the same way.

mod answers;
mod attach;
mod bench;
mod crash;
mod crash_ports;
mod hostile;
mod integrity;
mod logs;
mod model;
mod namespaces;
mod requests;
mod start;
mod timeouts;
