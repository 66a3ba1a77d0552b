//! The order and the times in which a checkpoint's pages are written: pure functions.
//!
//! Pages come sorted by file and block. They are cut into pieces, each of one file, and the pieces of all files are taken by turns,
//! so that every file always has the same share of its pages written (PostgreSQL balances tablespaces like that, `BufferSync`). So
//! files on several devices keep all of them busy, and end together. Over time pages are spread evenly.

use std::{ops::Range, time::Duration};

use crate::id::{FileId, PageId};

/// Cuts sorted pages into pieces of at most `most`, in the order in which they are to be written.
pub(crate) fn pieces(pages: &[PageId], most: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::with_capacity(pages.len() / most + 1);
    let mut begin = 0;
    for of_file in pages.chunk_by(|one, other| one.file == other.file) {
        for piece in (0..of_file.len()).step_by(most) {
            let range = begin + piece..begin + of_file.len().min(piece + most);
            // The share of its file that lies before the piece, as an exact fraction.
            pieces.push(Piece { before: piece, of: of_file.len(), file: of_file[0].file, range });
        }
        begin += of_file.len();
    }
    pieces.sort_by(|one, other| {
        let share = |piece: &Piece, of: &Piece| piece.before as u128 * of.of as u128;
        share(one, other).cmp(&share(other, one)).then(one.file.cmp(&other.file))
    });
    pieces.into_iter().map(|piece| piece.range).collect()
}

struct Piece {
    before: usize,
    of: usize,
    file: FileId,
    range: Range<usize>,
}

/// Returns when the piece behind `written` of `all` pages is due, counted from the beginning: the last page is due a little before
/// the end, the first at once.
pub(crate) fn due(written: usize, all: usize, over: Duration) -> Duration {
    if written == 0 { Duration::ZERO } else { over.mul_f64(written as f64 / all as f64) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pages(of_files: &[usize]) -> Vec<PageId> {
        let of_file =
            |(file, &count)| (0..count).map(move |block| PageId::new(FileId(file as u32), block as u32));
        of_files.iter().enumerate().flat_map(of_file).collect()
    }

    #[test]
    fn files_go_side_by_side_each_by_its_share() {
        let pages = pages(&[4, 8]);
        let order = pieces(&pages, 2);
        // After each piece, no file is further ahead of the other than a piece.
        assert_eq!(order, [0..2, 4..6, 6..8, 2..4, 8..10, 10..12]);
        assert!(pieces(&[], 2).is_empty());
    }

    #[test]
    fn pages_are_spread_evenly_over_the_time() {
        let minute = Duration::from_secs(60);
        assert_eq!(due(0, 100, minute), Duration::ZERO);
        assert_eq!(due(50, 100, minute), minute / 2);
        assert!(due(99, 100, minute) < minute);
        assert_eq!(due(7, 9, Duration::ZERO), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn every_page_is_in_one_piece_and_every_file_is_written_in_order(
            of_files in prop::collection::vec(0_usize..60, 0..6), most in 1_usize..20,
        ) {
            let pages = pages(&of_files);
            let order = pieces(&pages, most);
            let mut seen: Vec<usize> = order.iter().cloned().flatten().collect();
            for piece in &order {
                prop_assert!((1..=most).contains(&piece.len()));
                prop_assert!(pages[piece.clone()].iter().all(|page| page.file == pages[piece.start].file));
            }
            for file in 0..of_files.len() {
                let begins: Vec<usize> =
                    order.iter().map(|p| p.start).filter(|&at| pages[at].file == FileId(file as u32)).collect();
                prop_assert!(begins.is_sorted());
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..pages.len()).collect::<Vec<_>>());
        }
    }
}
