//! Writes the tables of `benches/README.md` from what criterion has measured, and `instructions.toml`; what it has not measured here stays
//! as it is.
//!
//! A table stands between `<!-- generated: PREFIX, against BASE -->` and `<!-- end -->`. It has the benchmarks whose names begin with PREFIX: a
//! row for each group, a column for each function. × is a figure ÷ that of BASE. `<!-- generated: instructions -->` is the other file.
//!
//! `cargo run -p voxwire-benches --bin voxwire-tables`

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Nanoseconds by row and column.
type Figures = BTreeMap<String, BTreeMap<String, f64>>;

fn main() -> Result<(), Box<dyn Error>> {
    let readme = Path::new(HERE).join("README.md");
    let text = fs::read_to_string(&readme)?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(HERE).join("../target"), PathBuf::from);
    let mut all = Vec::new();
    measured(&target.join("criterion"), &mut all);
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let _ = writeln!(out, "{line}");
        let Some(what) = line.strip_prefix("<!-- generated: ").and_then(|line| line.strip_suffix(" -->"))
        else {
            continue;
        };
        let before: Vec<&str> = lines.by_ref().take_while(|line| *line != "<!-- end -->").collect();
        let table = if what == "instructions" { Some(instructions()?) } else { benchmarks(what, &all) };
        match table {
            Some(table) => out += &table,
            None => {
                println!("{what}: not measured here, as before");
                before.iter().for_each(|line| _ = writeln!(out, "{line}"));
            }
        }
        out += "<!-- end -->\n";
    }
    fs::write(&readme, out)?;
    Ok(())
}

/// The name of each benchmark under `folder`, and its median in nanoseconds.
fn measured(folder: &Path, all: &mut Vec<(String, f64)>) {
    let read = |name: &str| -> Option<Value> {
        serde_json::from_slice(&fs::read(folder.join("new").join(name)).ok()?).ok()
    };
    if let (Some(benchmark), Some(estimates)) = (read("benchmark.json"), read("estimates.json"))
        && let Some(name) = benchmark["full_id"].as_str()
        && let Some(median) = estimates["median"]["point_estimate"].as_f64()
    {
        all.push((name.to_owned(), median));
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        measured(&entry.path(), all);
    }
}

/// The table of one marker; `None` if nothing of it has been measured.
fn benchmarks(what: &str, all: &[(String, f64)]) -> Option<String> {
    let (prefix, base) = what.split_once(", against ")?;
    let mut figures = Figures::new();
    for (name, nanos) in all.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let (row, column) = name.strip_prefix(prefix)?.trim_start_matches('/').rsplit_once('/')?;
        figures.entry(row.to_owned()).or_default().insert(column.to_owned(), *nanos);
    }
    let columns: BTreeSet<&String> = figures.values().flat_map(BTreeMap::keys).collect();
    let mut columns: Vec<&String> = columns.into_iter().collect();
    columns.sort_by_key(|column| (*column != base, !column.starts_with(base), *column));
    if columns.is_empty() {
        return None;
    }
    let mut table = format!("| {prefix} |");
    columns.iter().for_each(|column| _ = write!(table, " {column} |"));
    table += &format!("\n|{}\n", " --- |".repeat(columns.len() + 1));
    for (row, cells) in &figures {
        let _ = write!(table, "| {row} |");
        for column in &columns {
            let cell = match (cells.get(*column), cells.get(base)) {
                (None, _) => "–".to_owned(),
                (Some(nanos), Some(of)) if *column != base => {
                    format!("{} ({:.2} ×)", time(*nanos), nanos / of)
                }
                (Some(nanos), _) => time(*nanos),
            };
            let _ = write!(table, " {cell} |");
        }
        table += "\n";
    }
    Some(table)
}

/// Three digits.
fn time(nanos: f64) -> String {
    let (figure, unit) = match nanos {
        nanos if nanos < 10_000.0 => (nanos, "ns"),
        nanos if nanos < 10_000_000.0 => (nanos / 1e3, "µs"),
        nanos => (nanos / 1e6, "ms"),
    };
    let digits = if figure < 10.0 { 2 } else { usize::from(figure < 100.0) };
    format!("{figure:.digits$} {unit}")
}

fn instructions() -> Result<String, Box<dyn Error>> {
    let file: toml::Table = fs::read_to_string(Path::new(HERE).join("instructions.toml"))?.parse()?;
    let text = |key: &str| file["machine"][key].as_str().unwrap_or_default().to_owned();
    let mut table = format!("{}, glibc {}, {}:\n\n", text("compiler"), text("libc"), text("registers"));
    table += "| operation | instructions for a packet |\n| --- | --- |\n";
    for (name, count) in file["instructions"].as_table().into_iter().flatten() {
        let _ = writeln!(table, "| {name} | {} |", count.as_float().unwrap_or_default());
    }
    Ok(table)
}
