//! The diagnostic program: what a machine is, and whether crashes are kept.
#![no_std]
#![no_main]

mod diag;

use kernel::command_line::App;
use kernel::{Kernel, Start, survey};

kernel::program!(main);

fn main(start: Start) -> ! {
    let mut kernel = start.bring_up();
    if kernel.words.app == App::Diag {
        survey::enable();
    }
    kernel.find_consoles();
    match kernel.words.app {
        App::Diag => survey::run(&mut kernel),
        App::Lines { count, length } => diag::log_lines(&mut kernel, count, length),
        App::Idle => idle(&mut kernel),
    }
    kernel.finish()
}

fn idle(kernel: &mut Kernel) {
    loop {
        kernel.wait();
    }
}
