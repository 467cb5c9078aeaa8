//! The OpenAPI document against the server, by schemathesis.

use crate::common::{ALL, Controlled, TOKEN};
use std::process::Command;

/// C-35: requests made from the document get the answers that it describes. `pip install schemathesis` brings the program.
#[test]
fn c_35_the_server_answers_as_the_document_says() {
    let found = Command::new("schemathesis").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("skipped: schemathesis is not installed (pip install schemathesis)");
        return;
    }
    let control = Controlled::start("schemathesis", ALL);
    let http = control.address("http tcp");
    // Streams do not end, and a drain ends the server.
    let output = Command::new("schemathesis")
        .args(["run", &format!("http://{http}/api/v1/openapi.json")])
        .args(["-H", &format!("Authorization: Bearer {TOKEN}")])
        .args([
            "--exclude-path-regex",
            "/(events|people|drain)$",
            "--max-examples",
            "25",
            "--phases",
            "examples,coverage,fuzzing",
        ])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}
