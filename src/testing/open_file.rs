//! One open file of a simulated disk: what each operation does to its bytes, by its outcome.

use std::io::{self, IoSlice, IoSliceMut};

use super::{
    durable_image::pieces,
    fault::{Asked, Op},
    faults::Fate,
    operation::{SimOperation, SimState},
    sim_disk::{SECTOR, SimDisk},
};
use crate::io::storage::BlockingFile;

const EBADF: i32 = 9;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;

#[derive(Debug)]
pub(super) struct OpenFile {
    disk: SimDisk,
    file: usize,
    /// What offsets and lengths of transfers must be multiples of: this disk insists on it.
    align: u64,
    read_only: bool,
    atomic_bytes: usize,
}

impl OpenFile {
    pub(super) fn new(disk: SimDisk, file: usize, align: u32, read_only: bool, atomic_bytes: u32) -> Self {
        let (align, atomic_bytes) = (u64::from(align), atomic_bytes as usize);
        Self { disk, file, align, read_only, atomic_bytes }
    }

    /// Opens the file as the system's page cache has it.
    pub(super) fn buffered(disk: SimDisk, file: usize) -> Self {
        Self::new(disk, file, 1, false, 0)
    }

    pub(super) fn bytes_now(&self) -> u64 {
        self.disk.look(|state| state.files[self.file].medium.len() as u64)
    }

    fn asked(&self, op: Op, offset: u64, len: usize) -> Asked {
        Asked { op, file: self.file, offset, len, align: self.align }
    }

    fn check_aligned(&self, offset: u64, len: usize) -> io::Result<()> {
        let aligned = offset.is_multiple_of(self.align) && (len as u64).is_multiple_of(self.align);
        if aligned { Ok(()) } else { Err(io::Error::from_raw_os_error(EINVAL)) }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.read_only { Err(io::Error::from_raw_os_error(EBADF)) } else { Ok(()) }
    }

    /// Makes the file at least `len` bytes long, as far as there is space. Returns its new length.
    fn grow(&self, state: &mut SimState, len: u64) -> usize {
        let now = state.files[self.file].medium.len() as u64;
        let len = len.min(now.saturating_add(state.space())).max(now) as usize;
        state.files[self.file].medium.set_len(len);
        len
    }

    fn write(&self, buffers: &[IoSlice<'_>], offset: u64, is_atomic: bool) -> io::Result<usize> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let operation = self.disk.begin(self.asked(Op::Write, offset, len));
        let mut written = gather(&operation, buffers, len);
        operation.finish(|state, fate| {
            self.check_writable()?;
            self.check_aligned(offset, len)?;
            let offset = fate.place(offset, len, state.files[self.file].medium.len());
            if fate.errno.is_some() && !fate.is_torn {
                self.put_some(state, offset as usize, &written, is_atomic, fate);
                return fate.end(0);
            }
            // An atomic write is never short.
            let wanted = if is_atomic { len } else { len.min(fate.at_most) };
            let end = self.grow(state, offset + wanted as u64);
            // Where the disk is full a write is short, and fails only if nothing of it fits.
            let count = wanted.min(end.saturating_sub(offset as usize));
            if count == 0 && wanted > 0 || is_atomic && count < len {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            written.truncate(count);
            fate.flip(&mut written);
            self.put(state, offset as usize, written, is_atomic, fate);
            fate.end(count)
        })
    }

    fn put(&self, state: &mut SimState, offset: usize, bytes: Vec<u8>, is_atomic: bool, fate: &mut Fate) {
        let medium = &mut state.files[self.file].medium;
        if !fate.is_torn {
            return medium.write(offset, bytes, is_atomic);
        }
        for (at, sector) in pieces(offset, &bytes, SECTOR as usize) {
            if fate.dice.coin() {
                medium.write(at, sector.to_vec(), false);
            }
        }
    }

    /// Writes what is left by a write that fails: nothing, its first sectors, or any of them, as far as the file reaches.
    fn put_some(&self, state: &mut SimState, offset: usize, bytes: &[u8], is_atomic: bool, fate: &mut Fate) {
        let medium = &mut state.files[self.file].medium;
        let (dice, end) = (&mut fate.dice, medium.len());
        let unit = if is_atomic { bytes.len() } else { SECTOR as usize };
        let sectors: Vec<_> =
            pieces(offset, bytes, unit).filter(|(at, piece)| at + piece.len() <= end).collect();
        let (first, has_gaps) = match dice.below(3) {
            0 => (0, false),
            1 => (dice.below(sectors.len() as u64 + 1) as usize, false),
            _ => (sectors.len(), true),
        };
        for (at, sector) in sectors.into_iter().take(first) {
            if !has_gaps || dice.coin() {
                medium.write(at, sector.to_vec(), is_atomic);
            }
        }
    }

    fn resize(&self, len: u64, may_cut: bool) -> io::Result<()> {
        self.disk.begin(self.asked(Op::Resize, len, 0)).finish(|state, fate| {
            self.check_writable()?;
            let before = state.files[self.file].medium.len();
            if may_cut && len < before as u64 {
                state.files[self.file].medium.set_len(len as usize);
            } else if (self.grow(state, len) as u64) < len {
                state.files[self.file].medium.set_len(before);
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            fate.end(0)
        })?;
        Ok(())
    }
}

/// Copies what is to be written. These bytes can change meanwhile only if, by a bug, they are not lent.
fn gather(operation: &SimOperation<'_>, buffers: &[IoSlice<'_>], len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    for (_, piece) in buffers.iter().flat_map(|buffer| pieces(0, buffer, operation.unit)) {
        if !bytes.is_empty() && operation.unit < usize::MAX {
            operation.pause();
        }
        bytes.extend_from_slice(piece);
    }
    bytes
}

fn scatter(operation: &SimOperation<'_>, mut bytes: &[u8], buffers: &mut [IoSliceMut<'_>]) {
    let mut is_begun = false;
    for to in buffers.iter_mut().flat_map(|buffer| buffer.chunks_mut(operation.unit)) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::replace(&mut is_begun, true) && operation.unit < usize::MAX {
            operation.pause();
        }
        let piece;
        (piece, bytes) = bytes.split_at(to.len().min(bytes.len()));
        to[..piece.len()].copy_from_slice(piece);
    }
}

impl BlockingFile for OpenFile {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let mut operation = self.disk.begin(self.asked(Op::Read, offset, len));
        let mut read = Vec::new();
        let outcome = operation.happen(|state, fate| {
            self.check_aligned(offset, len)?;
            let bytes = state.files[self.file].medium.bytes();
            let offset = fate.place(offset, len, bytes.len());
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            read = rest[..rest.len().min(len).min(fate.at_most)].to_vec();
            fate.flip(&mut read);
            fate.end(read.len())
        });
        scatter(&operation, &read, buffers);
        operation.end(outcome)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.write(buffers, offset, false)
    }

    fn write_atomically_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let len: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        // As Linux does.
        if !len.is_power_of_two() || len > self.atomic_bytes || !offset.is_multiple_of(len as u64) {
            return Err(io::Error::from_raw_os_error(EINVAL));
        }
        self.write(buffers, offset, true)
    }

    fn sync_data(&self) -> io::Result<()> {
        // A write that ends while the sync is under way is not covered by it.
        let covered = self.disk.look(|state| state.files[self.file].medium.mark());
        self.disk.begin(self.asked(Op::Sync, 0, 0)).finish(|state, fate| {
            let medium = &mut state.files[self.file].medium;
            match fate.errno {
                None => medium.sync(covered),
                Some(_) => medium.fail_to_sync(covered, &mut fate.dice),
            }
            fate.end(0)
        })?;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes_now())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(len, true)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.resize(offset + len, false)
    }
}
