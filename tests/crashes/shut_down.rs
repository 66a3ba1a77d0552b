//! A file system that is shut down under the pool, as by a power cut: what was not synced is gone. Mounted again, it holds what
//! checkpoints promised.

use std::{fs, os::fd::AsFd, path::Path};

use ringpool::{BufferPool, CheckpointOptions, IoMethod, OpenOptions, PageId, testing::Dice};

use crate::{
    file_system::FileSystem,
    support::{guarded, methods, say},
    versions::{Versions, fill, version_of},
};

const PAGE: usize = 4096;
const BLOCKS: u32 = 64;

/// Stops the file system at once, without writing its journal.
#[allow(unsafe_code)]
fn shut_down(path: &Path) -> Result<(), String> {
    use rustix::ioctl::{Setter, ioctl};
    /// `EXT4_IOC_SHUTDOWN`, and its argument: `EXT4_GOING_FLAGS_NOLOGFLUSH`.
    const SHUTDOWN: u32 = 0x8004_587d;
    const WITHOUT_THE_JOURNAL: u32 = 2;
    let folder = fs::File::open(path).map_err(|error| error.to_string())?;
    // SAFETY: this call reads a number of 32 bits, which `Setter` keeps for as long as it takes.
    let request = unsafe { Setter::<SHUTDOWN, u32>::new(WITHOUT_THE_JOURNAL) };
    // SAFETY: the request only reads the number that it holds.
    let done = unsafe { ioctl(folder.as_fd(), request) };
    done.map_err(|error| format!("it cannot be shut down: {error}"))
}

/// Works until the file system is shut down.
fn work_until_it_fails(path: &Path, method: IoMethod, versions: &mut [Versions], dice: &mut Dice) {
    let pool = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(method).build().unwrap();
    let file = pool.open_file(path.join("data"), OpenOptions::new()).unwrap();
    let last = 100 + dice.below(300);
    let mut change = || -> ringpool::Result<()> {
        for number in 1.. {
            let block = dice.below(u64::from(BLOCKS)) as u32;
            let page = pool.fetch(PageId::new(file, block)).wait()?;
            let mut bytes = page.write()?;
            let version = versions.iter().map(|versions| versions.now).max().unwrap_or(0) + 1;
            fill(&mut bytes, block, version);
            versions[block as usize].change(version);
            drop(bytes);
            if dice.one_in(10) {
                pool.checkpoint(CheckpointOptions::new()).wait()?;
                versions.iter_mut().for_each(Versions::is_durable);
            }
            if number == last {
                shut_down(path).unwrap();
            }
        }
        Ok(())
    };
    let failed = change().expect_err("it was shut down");
    assert_eq!(failed.raw_os_error(), Some(5), "{failed}");
}

fn crash_several_times() -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file_system = FileSystem::make(dir.path(), 64, 80)?;
    let path = file_system.path();
    fs::write(path.join("data"), vec![0; BLOCKS as usize * PAGE]).map_err(|error| error.to_string())?;
    fs::File::open(path.join("data")).and_then(|file| file.sync_all()).map_err(|error| error.to_string())?;
    let mut versions = vec![Versions::default(); BLOCKS as usize];
    let mut dice = Dice::new(4);
    let mut crashes = 0;
    for method in methods().into_iter().cycle().take(9) {
        work_until_it_fails(&path, method, &mut versions, &mut dice);
        file_system.unmount()?;
        file_system.mount()?;
        let bytes = fs::read(path.join("data")).map_err(|error| error.to_string())?;
        assert_eq!(bytes.len(), BLOCKS as usize * PAGE);
        for (block, page) in bytes.chunks(PAGE).enumerate() {
            let found = version_of(page, block as u32).and_then(|found| versions[block].found(block, found));
            found.unwrap_or_else(|text| panic!("{text}"));
        }
        crashes += 1;
    }
    say(&format!("crashes: {crashes} file systems shut down"));
    Ok(())
}

#[test]
fn what_a_checkpoint_promised_outlives_its_file_system() {
    guarded(|| {
        if let Err(reason) = crash_several_times() {
            say(&format!("skipped: a file system that is shut down: {reason}"));
        }
    });
}
