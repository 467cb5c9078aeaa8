//! Counts the instructions of the operations of [`voxwire_benches::hot`] with callgrind, against `benches/instructions.toml`: more
//! than 2 % above it fails. The counts hold for one compiler, one C library and one kind of registers; for others nothing is compared.
//!
//! `cargo run --release -p voxwire-benches --bin voxwire-gate`, and with `-- --write` to write the table.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use voxwire_benches::hot::{OPERATIONS, PACKETS, measured};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml");

/// What may be above the table, in per cent.
const BAND: f64 = 2.0;

/// The committed table.
#[derive(Debug, Deserialize)]
struct Table {
    machine: Machine,
    /// Instructions for one packet.
    instructions: BTreeMap<String, f64>,
}

/// What instruction counts depend on, beside the code.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Machine {
    compiler: String,
    libc: String,
    registers: String,
}

impl Machine {
    fn here() -> Result<Self, String> {
        let libc = first_line(Command::new("ldd").arg("--version"))?;
        // callgrind knows AVX2, and hides what is wider.
        #[cfg(target_arch = "x86_64")]
        let registers = if std::arch::is_x86_feature_detected!("avx2") { "AVX2" } else { "SSE2" };
        #[cfg(not(target_arch = "x86_64"))]
        let registers = std::env::consts::ARCH;
        Ok(Self {
            compiler: first_line(Command::new("rustc").arg("--version"))?,
            libc: libc.rsplit(' ').next().unwrap_or_default().into(),
            registers: registers.into(),
        })
    }
}

fn first_line(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().into())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => compare(),
        ["--write"] => write(),
        ["--run", number] => {
            run(number.parse().unwrap_or(0));
            Ok(())
        }
        _ => Err("nothing, or --write expected".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What callgrind watches: warm first.
fn run(number: usize) {
    let mut operation = OPERATIONS[number].1();
    (0..2 * PACKETS).for_each(|_| operation());
    measured(&mut operation);
}

/// Instructions for one packet of each operation.
fn count() -> Result<BTreeMap<String, f64>, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let count_one = |(number, (name, _)): (usize, &voxwire_benches::hot::Operation)| {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.args(["--collect-atstart=no", "--toggle-collect=*hot*measured*"]);
        command.arg(&this).args(["--run", &number.to_string()]);
        let output = command.output().map_err(|error| format!("valgrind: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let collected: Option<f64> =
            said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
        match collected {
            Some(collected) if output.status.success() && collected > 0.0 => {
                Ok(((*name).to_owned(), (collected / f64::from(PACKETS) * 10.0).round() / 10.0))
            }
            _ => Err(format!("callgrind has counted nothing of {name}:\n{said}")),
        }
    };
    OPERATIONS.iter().enumerate().map(count_one).collect()
}

fn write() -> Result<(), String> {
    let table = Table { machine: Machine::here()?, instructions: count()? };
    let Table { machine: Machine { compiler, libc, registers }, instructions } = &table;
    let mut text = format!(
        "# Instructions for a packet. Written by `voxwire-gate --write`.\n\n[machine]\ncompiler = {compiler:?}\nlibc = {libc:?}\n\
         registers = {registers:?}\n\n[instructions]\n"
    );
    instructions.iter().for_each(|(name, count)| text += &format!("{name:?} = {count:.1}\n"));
    std::fs::write(TABLE, text).map_err(|error| format!("{TABLE}: {error}"))
}

fn compare() -> Result<(), String> {
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        println!("skipped: valgrind: {error}");
        return Ok(());
    }
    let text = std::fs::read_to_string(Path::new(TABLE)).map_err(|error| format!("{TABLE}: {error}"))?;
    let table: Table = toml::from_str(&text).map_err(|error| format!("{TABLE}: {error}"))?;
    let here = Machine::here()?;
    if here != table.machine {
        println!("skipped: the table is for {:?}, and this is {here:?}", table.machine);
        return Ok(());
    }
    let counts = count()?;
    let mut above: Vec<String> = table
        .instructions
        .keys()
        .filter(|name| !counts.contains_key(*name))
        .map(|name| format!("{name}: in the table, and no operation"))
        .collect();
    for (name, count) in counts {
        let Some(&expected) = table.instructions.get(&name) else {
            above.push(format!("{name}: not in the table"));
            continue;
        };
        let per_cent = (count / expected - 1.0) * 100.0;
        println!("{name}: {count} instructions, {expected} in the table ({per_cent:+.1} %)");
        if per_cent > BAND {
            above.push(format!("{name}: {count} instructions, {expected} expected"));
        } else if per_cent < -BAND {
            println!("  fewer than in the table: voxwire-gate --write keeps that");
        }
    }
    if above.is_empty() {
        return Ok(());
    }
    Err(format!("more than {BAND} % above {TABLE}:\n{}", above.join("\n")))
}
