//! Transfers of plain slices by the calling thread, for the rare paths: growing a file, and what the pool keeps for itself. Short
//! and interrupted ones follow the rule of [`transfer`](crate::io::transfer).

use std::io::{self, IoSlice, IoSliceMut};

use crate::{
    io::{
        buffers::{Direction, MOST_PIECES},
        file::File,
        transfer::{self, Progress},
    },
    observe::Counters,
};

/// Fills `bytes` from the file and returns how many came; fewer only where the file ends.
pub(crate) fn read(file: &File, bytes: &mut [u8], offset: u64, counters: &Counters) -> io::Result<usize> {
    let progress = Progress::new(Direction::Read, bytes.len(), file.offset_align);
    transfer::drive(progress, Some(counters), |done| {
        file.disk.read_at(&mut [IoSliceMut::new(&mut bytes[done..])], offset + done as u64)
    })
}

pub(crate) fn write(file: &File, pieces: &[&[u8]], offset: u64, counters: &Counters) -> io::Result<()> {
    let total = pieces.iter().map(|piece| piece.len()).sum();
    let progress = Progress::new(Direction::Write, total, file.offset_align);
    let written = transfer::drive(progress, Some(counters), |done| {
        let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, done);
        file.disk.write_at(&rest[..rest.len().min(MOST_PIECES)], offset + done as u64)
    });
    file.note_written();
    written.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tests::support::{FakeDisk, stamped};

    #[test]
    fn pieces_arrive_in_order_however_short_the_writes() {
        let bytes = stamped(3000);
        for shorts in [vec![], vec![1; 50], vec![700, 1, 800, 1000]] {
            let disk = FakeDisk::new(vec![0; 100]);
            let file = disk.open_file(512).unwrap();
            disk.transfer_at_most(shorts);
            let pieces = [&bytes[..10], &[], &bytes[10..2000], &bytes[2000..]];
            write(&file, &pieces, 100, &Counters::new()).unwrap();
            assert_eq!(disk.bytes()[100..], bytes);
            assert!(file.sync(&Counters::new()).unwrap(), "it is left to be synced");
        }
    }

    #[test]
    fn a_read_ends_where_the_file_ends() {
        let disk = FakeDisk::stamped(700);
        let file = disk.open_file(512).unwrap();
        disk.transfer_at_most([3, 500]);
        let mut bytes = [0; 600];
        assert_eq!(read(&file, &mut bytes, 200, &Counters::new()).unwrap(), 500);
        assert_eq!(bytes[..500], stamped(700)[200..]);
    }
}
