//! Files that are registered with a ring, which saves the kernel a lookup for each submission.

use std::os::fd::AsRawFd;

use io_uring::Submitter;
use rustc_hash::FxHashMap;

use super::submission::FileName;
use crate::{id::FileId, io::file::File};

/// The ring's table of files.
pub(super) struct RegisteredFiles {
    places: FxHashMap<FileId, u32>,
    /// Places in the table that no file has.
    free: Vec<u32>,
}

impl RegisteredFiles {
    /// Makes a table with `places` places.
    pub(super) fn new(places: u32) -> Self {
        Self { places: FxHashMap::default(), free: (0..places).rev().collect() }
    }

    /// Returns how a submission names the file. A new file is registered, if there is a place left.
    pub(super) fn name(&mut self, submitter: &Submitter<'_>, file: &File) -> FileName {
        if let Some(&registered) = self.places.get(&file.id) {
            return FileName::Registered(registered);
        }
        let fd = file.disk.descriptor().expect("files without a descriptor are not for a ring").as_raw_fd();
        let Some(place) = self.free.pop() else {
            return FileName::Descriptor(fd);
        };
        if submitter.register_files_update(place, &[fd]).is_err() {
            // Not tried again with every operation.
            self.free.clear();
            return FileName::Descriptor(fd);
        }
        self.places.insert(file.id, place);
        FileName::Registered(place)
    }

    /// Frees the file's place, and with it the ring's hold on the file.
    pub(super) fn forget(&mut self, submitter: &Submitter<'_>, file: FileId) {
        if let Some(place) = self.places.remove(&file)
            && submitter.register_files_update(place, &[-1]).is_ok()
        {
            self.free.push(place);
        }
    }
}
