//! Block devices: made of files by the kernel's loop driver, which takes root.

use std::{fs::File, num::NonZeroU32, path::PathBuf, process::Command};

use ringpool::{BufferPool, Error, IoOp, OpenOptions, PageId, Shutdown};
use tempfile::NamedTempFile;

use crate::support::{PAGE, assert_stamped, restamp, with_each_method};

const BLOCKS: u32 = 100;

/// A device in memory, which exists as long as this value.
struct Device {
    path: PathBuf,
    _bytes: NamedTempFile,
}

impl Device {
    /// Makes a device of this number of bytes; prints why and returns `None` where none can be made.
    fn new(bytes: u64) -> Option<Self> {
        let backing = NamedTempFile::new().unwrap();
        backing.as_file().set_len(bytes).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(backing.path()).output();
        match made {
            Ok(made) if made.status.success() => {
                let path = String::from_utf8(made.stdout).unwrap().trim().into();
                Some(Self { path, _bytes: backing })
            }
            other => {
                println!("skipped: no loop device here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

#[test]
fn a_device_has_its_whole_blocks_and_keeps_its_size() {
    with_each_method(|method| {
        let Some(device) = Device::new(u64::from(BLOCKS) * PAGE as u64 + 512) else { return };
        let options = OpenOptions::new();
        for version in 1..3 {
            let builder = BufferPool::builder().frames(16).page_size(PAGE as u32);
            let pool = builder.io_method(method.clone()).build().unwrap();
            let refused = pool.open_file(&device.path, options.initial_blocks(BLOCKS + 1)).unwrap_err();
            assert!(matches!(refused, Error::FixedSize { .. }), "{refused}");
            let file =
                pool.open_file(&device.path, options.initial_blocks(BLOCKS).grow_by_blocks(8)).unwrap();
            assert_eq!(pool.blocks(file).unwrap(), BLOCKS, "part of a block can never be written");
            assert!(matches!(
                pool.fetch(PageId::new(file, BLOCKS)).wait(),
                Err(Error::PastEof { blocks: BLOCKS, .. })
            ));
            let last = pool.fetch(PageId::new(file, BLOCKS - 1)).wait().unwrap();
            if version > 1 {
                assert_stamped(&last, version - 1);
            }
            restamp(&last, version);
            drop(last);
            let refused =
                [pool.extend(file, NonZeroU32::MIN).wait().map(drop), pool.truncate(file, BLOCKS - 1).wait()];
            for refused in refused {
                let error = refused.unwrap_err();
                assert!(matches!(&error, Error::FixedSize { path } if **path == device.path), "{error}");
                assert!(error.to_string().contains("block device, whose size is fixed"), "{error}");
            }
            pool.truncate(file, BLOCKS).wait().unwrap();
            assert!(matches!(pool.drop_file(file).wait(), Err(Error::File { op: IoOp::Remove, .. })));
            assert!(File::open(&device.path).unwrap().try_lock().is_err(), "it is not locked");
            pool.shutdown(Shutdown::Flush).unwrap();
        }
    });
}
