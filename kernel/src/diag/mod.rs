//! What the diagnostic program does, by the command line's `app=`.

mod lines;
mod machine;

pub(crate) use lines::log_lines;
pub(crate) use machine::describe;
