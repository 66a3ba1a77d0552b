//! Databases on the simulated disk.

use std::{io, path::Path};

use ringpool::{BufferPool, IoMethod, OpenOptions, testing::SimDisk};
use ringpool_sqlite::{names::Names, process_lock::ProcessLock};

use super::Place;

/// The names of a simulated disk. What it has no call for is done by a pool of its own.
struct SimNames {
    disk: SimDisk,
    pool: BufferPool,
}

impl SimNames {
    fn new(disk: &SimDisk) -> Self {
        let builder = BufferPool::builder().frames(4).page_size(4096).io_method(IoMethod::Sync);
        Self { disk: disk.clone(), pool: builder.storage(disk.clone()).build().unwrap() }
    }
}

fn system(error: ringpool::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}

impl Names for SimNames {
    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.disk.image(path).map(|bytes| bytes.len() as u64))
    }

    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.disk.file(path).set_len(bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let options = OpenOptions::new().durable_name(false);
        if self.disk.image(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.pool.open_file(path, options).map_err(system)?;
        self.pool.drop_file(file).wait().map_err(system)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        // The pool syncs the folder of a file that it opens.
        let file = self.pool.open_file(path.with_file_name("anchor"), OpenOptions::new().create(true));
        self.pool.close_file(file.map_err(system)?).wait().map_err(system)
    }

    fn mode(&self, _: &Path) -> Option<u32> {
        None
    }

    fn lock(&self, _: &Path, _: Option<u32>) -> io::Result<Option<ProcessLock>> {
        Ok(Some(ProcessLock::of_no_file()))
    }
}

/// Makes a pool on a simulated disk.
pub fn place(disk: &SimDisk) -> Place {
    let builder = BufferPool::builder().frames(24).io_method(IoMethod::Sync).storage(disk.clone());
    Place::with_names(builder, Box::new(SimNames::new(disk)))
}
