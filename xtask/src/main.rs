//! The project's commands: `cargo xtask help` lists them.
#![forbid(unsafe_code)]

mod anywhere;
mod bench;
mod campaign;
mod capture;
mod drill;
mod image;
mod kinds;
mod matrix;
mod paths;
mod random;
mod run;
mod signals;
mod test;
mod tidy;
mod torture;

use std::process::ExitCode;

use clap::Parser;

/// The project's commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Command {
    Run(run::RunOptions),
    Bench(bench::BenchOptions),
    Matrix(matrix::MatrixOptions),
    Anywhere(anywhere::AnywhereOptions),
    Torture(torture::TortureOptions),
    Drill(drill::DrillOptions),
    Image(image::ImageCommand),
    Flash(image::FlashCommand),
    Test(test::TestOptions),
    /// Check the house rules: arrows between packages, unsafe code, files, licences.
    Tidy,
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Run(options) => run::run(&options),
        Command::Bench(options) => bench::bench(&options),
        Command::Matrix(options) => matrix::matrix(&options),
        Command::Torture(options) => torture::torture(&options),
        Command::Drill(options) => drill::drill(&options),
        Command::Anywhere(options) => anywhere::anywhere(&options),
        Command::Image(command) => image::image(&command).map(|()| ExitCode::SUCCESS),
        Command::Flash(command) => image::flash(&command).map(|()| ExitCode::SUCCESS),
        Command::Test(options) => test::test(&options).map(|()| ExitCode::SUCCESS),
        Command::Tidy => tidy::tidy().map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
