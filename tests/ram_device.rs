//! `benches/ram_device` makes a device, for which not every user has the right. For a user without it the script says so, and that
//! is no failure.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use std::{fs::File, os::unix::process::CommandExt, path::Path, process::Command};

const NOBODY: u32 = 65534;

#[test]
fn without_the_right_to_make_a_device_the_script_says_so_and_succeeds() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/ram_device");
    // Read from here: the user that runs it may not see where it lies.
    let mut run = Command::new("bash");
    run.stdin(File::open(script).unwrap()).current_dir("/");
    if rustix::process::geteuid().is_root() {
        run.uid(NOBODY).gid(NOBODY);
    }
    let output = match run.output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: no bash as an ordinary user here: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, "skipped: no device in memory, which only root can make\n");
}
