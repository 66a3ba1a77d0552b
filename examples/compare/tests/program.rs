//! The program as it is started: what it prints where, what it leaves behind, and how it ends.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab::serde_json::{Value, from_slice};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

/// Makes a run on files small enough for it to take a second.
fn small(dir: &Path) -> Command {
    of_rounds(2, "4MiB", "200", dir)
}

fn of_rounds(rounds: u32, size: &str, pages: &str, dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringpool-compare"));
    command.args([
        "--size",
        size,
        "--pages",
        pages,
        "--rounds",
        &rounds.to_string(),
        "--depth",
        "8",
        "--pool",
        "1MiB",
    ]);
    command.args(["--worker-threads", "2", "--dir"]).arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

fn files_in(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_verdict_comes_first_and_each_workload_is_announced() {
    let dir = folder();
    let (code, out, errors) = run(small(dir.path()).args(["--only", "random,lone"]));
    assert_eq!(code, Some(0), "{out}{errors}");
    let (verdict, table) = (out.find("random read: pool").unwrap(), out.find("workload ").unwrap());
    assert!(verdict < table, "{out}");
    assert!(out.contains("pread, page cache"), "{out}");
    let announced: Vec<&str> = errors.lines().filter(|line| line.starts_with("workload ")).collect();
    assert_eq!(announced.len(), 2, "{errors}");
    assert!(announced[0].starts_with("workload 1 of 2: random read, about "), "{errors}");
    assert_eq!(files_in(dir.path()), 0);
}

#[test]
fn the_json_has_exactly_the_agreed_keys() {
    let dir = folder();
    let path = dir.path().join("found.json");
    // More pages than a pool has room for.
    let mut command = of_rounds(2, "32MiB", "1500", dir.path());
    let (code, out, errors) = run(command.args(["--only", "update", "--json"]).arg(&path));
    assert_eq!(code, Some(0), "{out}{errors}");
    let found: Value = from_slice(&fs::read(path).unwrap()).unwrap();
    let agreed = "arms_with_wrong_bytes failures host left_out options remarks rows schema verdict version";
    assert_eq!(keys(&found).join(" "), agreed);
    assert_eq!((&found["schema"], &found["version"]), (&"ringpool-compare".into(), &1.into()));
    assert_eq!(keys(&found["host"]).join(" "), "cores cpu device file_system is_memory kernel memory_bytes");
    let agreed = "buffered depth files page_size_bytes pages pool_bytes quick rounds scan_size_bytes size_bytes worker_threads \
                  workloads";
    assert_eq!(keys(&found["options"]).join(" "), agreed);
    let agreed = "arm bytes_digest cpu_us_per_page cpu_us_per_s in_flight latencies longest_us mb_per_s method p50_us p99_us \
                  page_size pages pages_per_s pages_per_s_spread plain_arm ratio_to_bare_ring ratio_to_plain seconds \
                  wakeups_per_s within_noise workload";
    let rows = found["rows"].as_array().unwrap();
    assert!(rows.len() >= 4, "{rows:?}");
    assert_eq!(keys(&rows[0]).join(" "), agreed);
    let worker = rows.iter().find(|row| row["arm"] == "pool, worker").unwrap();
    assert_eq!(worker["plain_arm"], "pool, sync");
    assert!(
        worker["within_noise"].is_boolean() && worker["ratio_to_plain"]["median"].is_number(),
        "{worker}"
    );
    let agreed = "against arm noise pays ratio ratio_to_page_cache sentence side workload";
    assert_eq!(keys(&found["verdict"][0]).join(" "), agreed);
}

#[test]
fn an_arm_that_fails_costs_its_rows_only() {
    let dir = folder();
    let path = dir.path().join("found.json");
    let mut command = small(dir.path());
    command.args(["--only", "update,lone", "--fail", "pool, worker", "--json"]).arg(&path);
    let (code, out, errors) = run(&mut command);
    assert_eq!(code, Some(3), "{out}{errors}");
    assert!(out.contains("update: pool, worker FAILED and is left out: told to fail"), "{out}");
    let found: Value = from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(found["failures"].as_array().unwrap().len(), 2);
    let arms = |name| found["rows"].as_array().unwrap().iter().filter(|row| row["arm"] == name).count();
    // Updates have a row for what was read and one for what was written.
    assert_eq!((arms("pool, worker"), arms("pool, sync")), (0, 3));
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let dir = folder();
    let mut child = small(dir.path()).args(["--only", "lone"]).spawn().unwrap();
    drop(child.stdout.take());
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(files_in(dir.path()), 0);
}

#[test]
fn a_signal_removes_the_files_and_ends_the_process() {
    for signal in [2, 15] {
        let dir = folder();
        // Far longer than anything waits here.
        let mut command = of_rounds(1_000_000, "4MiB", "200", dir.path());
        let mut child = command.args(["--only", "safety"]).spawn().unwrap();
        until(&mut child, || fs::read_dir(dir.path()).unwrap().any(|own| files_in(&own.unwrap().path()) > 2));
        let sent =
            Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().signal(), Some(signal));
        assert_eq!(files_in(dir.path()), 0);
    }
}

/// Waits for `met` while the child runs.
fn until(child: &mut Child, met: impl Fn() -> bool) {
    let begun = Instant::now();
    while !met() {
        assert!(begun.elapsed() < LONG && child.try_wait().unwrap().is_none(), "it ended before its time");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn files_in_memory_are_said_to_be_so_before_anything_else() {
    let memory = Path::new("/dev/shm");
    if lab::machine::Machine::of(memory).file_system != "tmpfs" {
        return;
    }
    let dir = tempfile::tempdir_in(memory).unwrap();
    let (code, out, errors) = run(small(dir.path()).args(["--only", "lone"]));
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.starts_with("THE FILES ARE IN MEMORY (tmpfs)"), "{out}");
    assert!(errors.contains("the files are in memory (tmpfs)"), "{errors}");
}

#[test]
fn files_that_are_named_are_read_and_never_written() {
    let dir = folder();
    let path = dir.path().join("pages");
    let bytes: Vec<u8> = (0..1_u32 << 20).map(|at| (at / 7) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringpool-compare"));
    command.args(["--rounds", "2", "--depth", "4", "--only", "random,writeback"]).arg(&path);
    let (code, out, errors) = run(&mut command);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("writeback: left out, since files that were named are never written to"), "{out}");
    assert_eq!((fs::read(&path).unwrap(), files_in(dir.path())), (bytes, 1));
}

#[test]
fn the_page_and_the_picture_stand_by_themselves() {
    let dir = folder();
    let (page, picture) = (dir.path().join("page.html"), dir.path().join("picture.svg"));
    let mut command = small(dir.path());
    command.args(["--only", "random,depths", "--html"]).arg(&page).arg("--svg").arg(&picture);
    let (code, out, errors) = run(&mut command);
    assert_eq!(code, Some(0), "{out}{errors}");
    let (page, picture) = (fs::read_to_string(page).unwrap(), fs::read_to_string(picture).unwrap());
    // How all arms stand, rate and CPU by depth, latencies.
    assert_eq!((page.matches("<svg ").count(), page.matches("</svg>").count()), (4, 4));
    assert!(page.find("random read: pool").unwrap() < page.find("<svg ").unwrap());
    for text in [&page, &picture] {
        assert!(text.contains("prefers-color-scheme:dark") && !text.contains("NaN"));
        let addresses = text.matches("http").count();
        assert_eq!(addresses, text.matches("http://www.w3.org/2000/svg").count(), "it loads nothing");
    }
    assert!(picture.starts_with("<svg ") && picture.trim_end().ends_with("</svg>"));
}
