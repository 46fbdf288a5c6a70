//! What the diagnostic program does, by the command line's `app=`.

mod lines;

pub(crate) use lines::log_lines;
