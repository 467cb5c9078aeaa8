//! The program `voxwire-inspect`: decodes and encodes messages of any protocol, shows captures and live conversations.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    voxwire_inspect::main()
}
