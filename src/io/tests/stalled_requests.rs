//! A request that hangs in the kernel: what can be seen of it meanwhile.

use std::{
    io::{self, Write},
    os::fd::{AsRawFd, RawFd},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    id::{FileId, PageSize},
    io::{
        buffers::Direction,
        disk::{Disk, DiskFile, Opened},
        file::{File, open_options::OpenOptions},
        method::choice::open_method,
        operation::table::Stage,
        options::IoMethod,
        tests::support::{SCHEDULING, TestArena, TestLease, stamped},
    },
    observe::Counters,
    sync::Arc,
};

const PAGE: u64 = 8192;

/// A disk whose one file is a pipe: a read of it is with the kernel until somebody writes.
#[derive(Clone, Debug)]
struct PipeDisk(Arc<io::PipeReader>);

impl Disk for PipeDisk {
    fn open(&self, _: &Path, _: &OpenOptions, _: PageSize) -> io::Result<Opened> {
        Ok(Opened::buffered(Box::new(self.clone()), (0, 0), PAGE))
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn may_remove(&self, _: &Path, _: (u64, u64)) -> io::Result<bool> {
        Ok(false)
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl DiskFile for PipeDisk {
    fn read_at(&self, _: &mut [io::IoSliceMut<'_>], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write_at(&self, _: &[io::IoSlice<'_>], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(PAGE)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn raw_fd(&self) -> Option<RawFd> {
        Some(self.0.as_raw_fd())
    }
}

#[test]
fn what_the_kernel_has_of_a_ring_is_shown_as_submitted() {
    let arena = TestArena::new(1 << 20);
    let opened = open_method::<TestLease>(
        &IoMethod::uring(),
        &arena.chunks(),
        &SCHEDULING,
        &Arc::new(Counters::new()),
    );
    let Ok((method, _)) = opened else {
        return println!("skipped: no io_uring here");
    };
    let (reader, mut writer) = io::pipe().unwrap();
    let disk = PipeDisk(Arc::new(reader));
    let options = OpenOptions::new();
    let file = File::open(&disk, FileId(5), Path::new("pipe"), &options, PageSize::DEFAULT).unwrap();
    method.submit(&mut vec![arena.request(Direction::Read, &Arc::new(file), 0, &[PAGE as u32])]);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let listed = arena.in_flight.list();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!((listed[0].page.file, listed[0].bytes), (FileId(5), PAGE));
        if listed[0].stage == Stage::Submitted {
            break;
        }
        assert!(Instant::now() < deadline, "never submitted");
        std::thread::yield_now();
    }
    writer.write_all(&stamped(PAGE as usize)).unwrap();
    arena.expect_reads(1);
    assert_eq!(arena.in_flight.list(), []);
}
