//! Has the compiler know what cargo-fuzz and `.ci/fuzz` set.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
}
