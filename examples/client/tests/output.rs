//! F-03: what the programs write goes through one border each, where text from outside is escaped. Nothing writes past it.

use std::fs::{read_dir, read_to_string};
use std::path::Path;

/// Where standard output and standard error are written to: the borders themselves.
const BORDERS: [(&str, &str); 22] = [
    // Escapes every line.
    ("client/src/report.rs", "stdout().lock()"),
    // Writes those lines, and the meter, in which there is no text from outside.
    ("client/src/report/output.rs", "stdout().lock()"),
    ("client/src/report/output.rs", "stderr().lock()"),
    ("client/src/report/output.rs", "Term::stderr().size()"),
    // The screen, in which the model has escaped what comes from outside.
    ("client/src/screen/terminal.rs", "stdout()"),
    // The terminal's title, escaped there.
    ("client/src/msgpack/chat/lines.rs", "stdout().lock()"),
    // Lines that the log's formatter has escaped.
    ("server/src/logging.rs", "stderr()"),
    // Only where the server listens, and what it is asked to print of itself.
    ("server/src/main.rs", "stdout().lock()"),
    ("inspect/src/lib.rs", "stdout().lock()"),
    ("inspect/src/lib.rs", "eprintln!"),
    // Each line by `say_to`, which escapes.
    ("inspect/src/capture.rs", "stdout().lock()"),
    ("inspect/src/proxy.rs", "stdout().lock()"),
    ("inspect/src/vector.rs", "stdout().lock()"),
    // The table, whose rows are escaped, or JSON; and what went wrong, escaped there.
    ("load/src/main.rs", "stdout().lock()"),
    ("load/src/main.rs", "stderr().lock()"),
    // JSON, for another process of the program.
    ("load/src/process.rs", "stdout().lock()"),
    // Addresses and errors of the system.
    ("inspect/src/proxy/relay.rs", "eprintln!"),
    // Lines that the log's formatter has escaped, and those about lost ones.
    ("server/src/logging.rs", "io::stderr()"),
    // A test's, about a path of the repository.
    ("conformance/src/vectors.rs", "println!"),
    // A report of hex digits, and lines that are escaped.
    ("conformance/src/main.rs", "stdout().lock()"),
    ("conformance/src/main.rs", "eprintln!"),
    // The answers of the API: escaped there.
    ("server/src/main.rs", "ctl.run(&mut std::io::stdout().lock())"),
];

/// What writes.
const WRITES: [&str; 7] = ["println!", "print!", "eprintln!", "eprint!", "dbg!", "stdout()", "stderr()"];

#[test]
fn f_03_nothing_is_written_past_the_borders() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut seen = 0;
    for program in ["client", "conformance", "inspect", "load", "server"] {
        for_each_file(&programs.join(program).join("src"), &mut |path, text| {
            let name = path.strip_prefix(programs).unwrap().to_str().unwrap();
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if code.contains("is_terminal()") || !WRITES.iter().any(|write| code.contains(write)) {
                    continue;
                }
                seen += 1;
                let allowed = BORDERS.iter().any(|(file, what)| *file == name && code.contains(what));
                assert!(
                    allowed,
                    "{name}:{}: writes past the border, where text from outside is escaped (use Report or tracing): {line}",
                    number + 1
                );
            }
        });
    }
    assert!(seen >= 4, "the sources were read");
}

fn for_each_file(folder: &Path, f: &mut dyn FnMut(&Path, &str)) {
    for entry in read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_file(&path, f);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            f(&path, &read_to_string(&path).unwrap());
        }
    }
}
