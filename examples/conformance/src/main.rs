//! The program `voxwire-conformance`: tests an endpoint of any of the protocols over a socket.
#![forbid(unsafe_code)]

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use voxwire_conformance::{Flags, run};
use voxwire_core::Untrusted;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let say = |line: &str| eprintln!("{}", Untrusted::new(line));
    match run(&flags, &say) {
        Ok(report) => {
            // A reader that has gone changes nothing about the result.
            let _ = writeln!(std::io::stdout().lock(), "{}", report.text(flags.json()));
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            say(&format!("voxwire-conformance: {error}"));
            ExitCode::from(2)
        }
    }
}
