//! What a process may do with files: databases and logs that it may only read, and the permissions of the files that it makes.
//!
//! The user root may do everything, so the tests run in processes of another user where it is root that runs them.

mod support;

use std::{
    env, fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::{Connection, ErrorCode, ffi};
use support::{Place, number, set_mode};

const CHILD: &str = "RINGPOOL_SQLITE_PERMISSIONS";
/// The number of a user without rights of its own.
const UNPRIVILEGED: u32 = 65_534;

/// Runs a test of this program in a process of its own, not as root. Returns whether this is that process.
fn is_alone(test: &str) -> bool {
    if env::var_os(CHILD).is_some() {
        return true;
    }
    let mut command = Command::new("sh");
    // With a file mode mask that takes what it can.
    command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").current_dir("/");
    let folder = tempfile::tempdir().unwrap();
    if fs::metadata(folder.path()).unwrap().uid() == 0 {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    let done = command.output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{told}{}", String::from_utf8_lossy(&done.stderr));
    assert!(told.contains("1 passed"), "{told}");
    false
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn permissions(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn is_read_only(done: rusqlite::Result<()>) -> bool {
    done.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::ReadOnly))
}

#[test]
fn each_connection_reads_a_database_that_may_not_be_written() {
    if !is_alone("each_connection_reads_a_database_that_may_not_be_written") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)").unwrap();
    permit(&path, 0o444);
    let place = Place::of_frames(64);
    let both = [place.open(&path), place.open(&path)];
    for db in &both {
        assert_eq!(number(db, "SELECT a FROM t"), 7);
        assert!(is_read_only(db.execute_batch("INSERT INTO t VALUES (8)")));
    }
}

#[test]
fn a_log_that_may_not_be_written_is_read() {
    if !is_alone("a_log_that_may_not_be_written_is_read") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (made, path) = (folder.path().join("made"), folder.path().join("db"));
    let db = Connection::open(&made).unwrap();
    set_mode(&db, "WAL");
    db.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)").unwrap();
    for suffix in ["", "-wal"] {
        fs::copy(with_suffix(&made, suffix), with_suffix(&path, suffix)).unwrap();
    }
    permit(&with_suffix(&path, "-wal"), 0o400);
    let place = Place::of_frames(64);
    for db in [place.open(&path), place.open(&path)] {
        assert_eq!(number(&db, "SELECT a FROM t"), 7);
        assert!(is_read_only(db.execute_batch("INSERT INTO t VALUES (8)")));
    }
}

/// Else another user, with the right to write the database, cannot recover it.
#[test]
fn a_journal_and_a_log_have_the_permissions_of_the_database() {
    if !is_alone("a_journal_and_a_log_have_the_permissions_of_the_database") {
        return;
    }
    for (mode, suffix) in [("PERSIST", "-journal"), ("WAL", "-wal")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        drop(fs::File::create(&path).unwrap());
        permit(&path, 0o664);
        let place = Place::of_frames(64);
        let db = place.open(&path);
        set_mode(&db, mode);
        db.execute_batch("CREATE TABLE t (a)").unwrap();
        assert_eq!(permissions(&with_suffix(&path, suffix)), 0o664, "{mode}");
    }
}

#[test]
fn why_a_database_cannot_be_opened_is_told_as_a_number_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::of_frames(64);
    let path = std::ffi::CString::new(folder.path().join("none/db").to_str().unwrap()).unwrap();
    for flags in [ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE, ffi::SQLITE_OPEN_READONLY] {
        assert_eq!(place.errno_of_open(&path, flags), Some(2), "there is no such folder");
    }
}
