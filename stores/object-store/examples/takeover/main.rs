//! A tree in an object store outlives the process that writes it, and has one writer at a time.
//!
//! ```text
//! cargo run --manifest-path stores/object-store/Cargo.toml --example takeover
//! ```
//!
//! This process has an S3 server, and starts four more that write one B+tree there, each through a pool:
//!
//! 1. An owner inserts keys, with a checkpoint after each batch, and is **killed** amid that. Its heir opens the tree, checks it, and goes on.
//! 2. Another owner is **paused** (SIGSTOP). Its heir takes the tree over and goes on; then the owner continues, and is fenced: its checkpoint
//!    fails with [`Fenced`], and publishes nothing.
//!
//! Last, this process opens the tree for reading, and checks which writer each key is of. It exits with 1 if anything is not as it says.
//!
//! What to look at: `engine.rs` (the tree on a pool on the store: what opening, a checkpoint and a check are), and `write_until_fenced` here
//! (what an engine does with the fence). `process.rs` is about pipes and signals.

mod engine;
mod process;
#[path = "../../../../examples/support/recorder.rs"]
#[allow(dead_code)]
mod recorder;
#[path = "../../tests/support/s3_server.rs"]
mod s3_server;
#[path = "../../../../examples/btree/tree/mod.rs"]
#[allow(dead_code, unused_imports)]
mod tree;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{env, thread};

use ringpool::OpenOptions;
use ringpool_object_store::Fenced;

use engine::{BATCH, Engine, FRAMES, total};
use process::Process;
use s3_server::{S3Server, client_at};
use tree::Result;

/// The exit code of a process that another one has fenced.
const FENCED: u8 = 3;

/// Checkpoints that an heir makes.
const OF_HEIR: u64 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match arguments.as_slice() {
        [] => show(),
        [role @ ("owner" | "heir"), address, writer, at_least] => write(role, address, writer, at_least),
        _ => Err("this program takes no arguments".into()),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("failed: {error}");
        ExitCode::FAILURE
    })
}

// ---- the process that shows it --------------------------------------------------------------------------------------

fn show() -> Result<ExitCode> {
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let server = runtime.block_on(S3Server::start());
    let address = server.address();
    println!("The store is at {address}. A pool has {FRAMES} frames, a batch {BATCH} keys.");

    println!("\n1. An owner inserts, and is killed. An heir takes over.");
    let mut owner = Process::start("owner", &address, 1, 0)?;
    owner.wait_for_checkpoints(4)?;
    let since = Instant::now();
    owner.wait_for_checkpoints(1)?;
    // Another moment in each run: amid inserts, before the segment is put, or after the swap and before the report.
    let wait = since.elapsed().mul_f64(chance());
    thread::sleep(wait);
    let status = owner.kill()?;
    expect(status.code().is_none(), "the owner works until it is killed")?;
    println!("  The owner was killed {wait:.1?} after a checkpoint. Reported: {} keys.", owner.reported);
    let first = take_over(&address, 2, &owner)?;

    println!("\n2. An owner inserts, and is paused. An heir takes over, and the owner continues.");
    let mut owner = Process::start("owner", &address, 3, first.reported)?;
    owner.wait_for_checkpoints(3)?;
    owner.pause()?;
    expect(owner.found == first.reported, "the second owner finds what the first heir left")?;
    println!("  The owner is paused. Reported: {} keys.", owner.reported);
    let second = take_over(&address, 4, &owner)?;
    println!("  The owner continues.");
    owner.resume()?;
    let status = owner.end(owner.reported)?;
    expect(status.code() == Some(FENCED.into()), "the owner is fenced")?;
    println!("  The owner exited with {FENCED}.");

    println!("\n3. The tree is opened for reading.");
    let mut engine = Engine::open(server.client(), OpenOptions::new().read_only(true))?;
    let found = engine.contents()?;
    println!("  Found {found}.");
    let of_writers = [
        (1, first.found),
        (2, first.reported - first.found),
        (3, second.found - first.reported),
        (4, second.reported - second.found),
    ];
    expect(found.by_writer == of_writers, "each writer's keys are those of its checkpoints, and no others")?;
    println!("\nAll checks passed, in {:.1?}.", begun.elapsed());
    Ok(ExitCode::SUCCESS)
}

/// Has an heir take over from an owner, and waits until it has made its checkpoints and ended.
fn take_over(address: &str, writer: u64, owner: &Process) -> Result<Process> {
    let mut heir = Process::start("heir", address, writer, owner.reported)?;
    let status = heir.end(u64::MAX)?;
    expect(status.success(), "the heir ends cleanly")?;
    expect(heir.found >= owner.reported, "the heir finds what the owner reported")?;
    expect(heir.found <= owner.reported + BATCH, "the heir finds no more than the owner began")?;
    expect(heir.reported == heir.found + OF_HEIR * BATCH, "the heir inserts behind the owner's last key")?;
    Ok(heir)
}

/// Returns a number from 0 to 1.5 that differs from run to run.
fn chance() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    f64::from(now.subsec_micros() % 1000) / 1000.0 * 1.5
}

fn expect(is_so: bool, what: &str) -> Result<()> {
    if is_so { Ok(()) } else { Err(format!("it is not so that {what}").into()) }
}

// ---- a process that writes ------------------------------------------------------------------------------------------

/// Opens the tree, checks it, and inserts: an owner for ever, an heir some batches.
fn write(role: &str, address: &str, writer: &str, at_least: &str) -> Result<ExitCode> {
    let (writer, at_least): (u64, u64) = (writer.parse()?, at_least.parse()?);
    let begun = Instant::now();
    let mut engine = Engine::open(client_at(address), OpenOptions::new().create(true))?;
    let (took, requests) = (begun.elapsed(), total(engine.requests()));
    let found = engine.contents()?;
    println!("found {found}; opened by {requests} requests in {took:.0?}");
    if found.keys < at_least {
        return Err(format!("{} keys found, of {at_least} that a checkpoint reported", found.keys).into());
    }
    let checkpoints = if role == "heir" { OF_HEIR } else { u64::MAX };
    match write_until_fenced(&mut engine, writer, checkpoints)? {
        None => engine.close().map(|()| ExitCode::SUCCESS),
        Some(fenced) => {
            // Nothing of this process can get into the file any more: what it has in memory is thrown away.
            let owner = fenced.owner.map_or("removed".to_owned(), |owner| format!("at epoch {owner}"));
            println!("fenced: this process opened the file at epoch {}, and it is {owner}", fenced.epoch);
            Ok(ExitCode::from(FENCED))
        }
    }
}

/// Inserts batches. Returns the fence, where another process has taken the tree over.
fn write_until_fenced(engine: &mut Engine, writer: u64, checkpoints: u64) -> Result<Option<Fenced>> {
    for _ in 0..checkpoints {
        let made = engine.insert_batch(writer).and_then(|()| engine.checkpoint());
        match made {
            Ok(checkpoint) => println!("{checkpoint}"),
            Err(error) => {
                let Some(fenced) = fence(&*error) else { return Err(error) };
                let again =
                    engine.checkpoint().err().ok_or("a process that is fenced published a checkpoint")?;
                expect(fence(&*again).is_some(), "a fence stays")?;
                return Ok(Some(fenced));
            }
        }
    }
    Ok(None)
}

/// Finds the fence among the causes of an error.
fn fence(error: &(dyn Error + 'static)) -> Option<Fenced> {
    Fenced::of(error).cloned()
}
