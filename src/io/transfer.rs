//! The pure rule for transfers that come back short, interrupted or at the end of the file.
//!
//! A transfer is a row of attempts. [`Progress`] takes the result of each and says whether another one is due and where it
//! begins. All methods follow this one rule, which is why they agree (C7). It ends after a bounded number of attempts whatever
//! the disk answers: each either makes progress or is counted.
//!
//! Offsets are absolute, so an attempt may repeat bytes that already went over. That is how attempts stay aligned for
//! direct I/O: the next one begins where the last ended, rounded down.

use std::io;

use rustix::io::Errno;

use crate::{
    io::buffers::Direction,
    observe::{Counter, Counters},
};

/// Attempts in a row that may bring nothing before the transfer fails.
const FUTILE_LIMIT: u32 = 32;

#[derive(Debug)]
pub(crate) enum TransferStep {
    /// The transfer is over: this many bytes from its beginning went over, or it failed.
    Finished(io::Result<usize>),
    /// One more attempt is due, from [`Progress::next`] on.
    Resume,
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct Progress {
    direction: Direction,
    total: usize,
    /// What the begin of an attempt must be a multiple of; 1 or a power of two.
    align: usize,
    /// The first bytes that certainly went over.
    reached: usize,
    /// Where the current attempt begins: `reached`, rounded down.
    next: usize,
    /// Attempts since `reached` last grew.
    futile: u32,
}

impl Progress {
    pub(crate) fn new(direction: Direction, total: usize, offset_align: u32) -> Self {
        Self { direction, total, align: offset_align as usize, reached: 0, next: 0, futile: 0 }
    }

    /// Returns where the next attempt begins, in bytes from the transfer's beginning.
    pub(crate) fn next(&self) -> usize {
        self.next
    }

    /// Takes the result of an attempt from `next` on.
    pub(crate) fn step(&mut self, attempt: io::Result<usize>) -> TransferStep {
        match attempt {
            Ok(count) => self.step_ok(count),
            Err(error) if is_transient(&error) => self.count_futile(error),
            Err(error) => TransferStep::Finished(Err(error)),
        }
    }

    fn step_ok(&mut self, count: usize) -> TransferStep {
        let end = self.next + count;
        if end > self.total {
            let said = format!("the storage has transferred {end} bytes of {}", self.total);
            return TransferStep::Finished(Err(io::Error::other(said)));
        }
        if end >= self.total || count > 0 && seeded!("short_transfer_counts_as_whole") {
            return TransferStep::Finished(Ok(self.total));
        }
        if end > self.reached {
            self.reached = end;
            self.next = end - end % self.align;
            self.futile = 0;
            return TransferStep::Resume;
        }
        match self.direction {
            // Nothing there, or the very same odd end once more: the file ends here. Never asked again, since a disk that answers
            // 0 might answer so for ever.
            Direction::Read if count == 0 && seeded!("end_of_file_asked_for_ever") => TransferStep::Resume,
            Direction::Read if count == 0 || end == self.reached => TransferStep::Finished(Ok(self.reached)),
            Direction::Read => self.count_futile(io::ErrorKind::UnexpectedEof.into()),
            Direction::Write if count == 0 => TransferStep::Finished(Err(io::ErrorKind::WriteZero.into())),
            Direction::Write => self.count_futile(io::ErrorKind::WriteZero.into()),
        }
    }

    fn count_futile(&mut self, error: io::Error) -> TransferStep {
        self.futile += 1;
        if self.futile > FUTILE_LIMIT { TransferStep::Finished(Err(error)) } else { TransferStep::Resume }
    }
}

/// Returns whether an error says only "not now". A cancelled request is one whose submitter went away under it.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
        && !seeded!("interrupted_is_an_error")
        || error.raw_os_error() == Some(Errno::CANCELED.raw_os_error())
}

/// Makes attempts until the transfer is over. `attempt` gets the position at which to begin; those after the first are counted, where
/// there are `counters`.
pub(crate) fn drive(
    mut progress: Progress,
    counters: Option<&Counters>,
    mut attempt: impl FnMut(usize) -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match progress.step(attempt(progress.next())) {
            TransferStep::Finished(outcome) => return outcome,
            TransferStep::Resume => counters.into_iter().for_each(|it| it.add(Counter::Resumed, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Read, Write};
    use proptest::prelude::*;

    fn errno(errno: Errno) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(errno.raw_os_error()))
    }

    /// Plays the answers. Returns the offsets that were asked for and the outcome as `Ok(n)` or an error's text.
    fn play(
        direction: Direction,
        total: usize,
        align: u32,
        answers: Vec<io::Result<usize>>,
    ) -> (Vec<usize>, Result<usize, io::ErrorKind>) {
        let mut answers = answers.into_iter();
        let mut asked = Vec::new();
        let outcome = drive(Progress::new(direction, total, align), None, |next| {
            asked.push(next);
            answers.next().expect("an attempt more than the table has answers")
        });
        assert_eq!(answers.len(), 0, "answers left over: {asked:?}");
        (asked, outcome.map_err(|error| error.kind()))
    }

    #[test]
    fn each_row_asks_at_the_right_offsets_and_ends_right() {
        type TransferCase =
            (&'static str, Direction, u32, Vec<io::Result<usize>>, Vec<usize>, Result<usize, io::ErrorKind>);
        let eio = || errno(Errno::IO);
        let eio_kind = || eio().unwrap_err().kind();
        let rows: Vec<TransferCase> = vec![
            ("whole read", Read, 1, vec![Ok(8192)], vec![0], Ok(8192)),
            ("whole write", Write, 512, vec![Ok(8192)], vec![0], Ok(8192)),
            ("past the end", Read, 1, vec![Ok(0)], vec![0], Ok(0)),
            ("past the end, direct", Read, 512, vec![Ok(0)], vec![0], Ok(0)),
            ("short, then the rest", Read, 1, vec![Ok(100), Ok(8092)], vec![0, 100], Ok(8192)),
            ("odd end, buffered", Read, 1, vec![Ok(1808), Ok(0)], vec![0, 1808], Ok(1808)),
            ("odd end, direct", Read, 512, vec![Ok(1808), Ok(272)], vec![0, 1536], Ok(1808)),
            ("odd end that moves up", Read, 512, vec![Ok(700), Ok(288), Ok(288)], vec![0, 512, 512], Ok(800)),
            (
                "less than before, direct",
                Read,
                512,
                vec![Ok(1808), Ok(100), Ok(272)],
                vec![0, 1536, 1536],
                Ok(1808),
            ),
            ("odd end, gone", Read, 512, vec![Ok(1808), Ok(0)], vec![0, 1536], Ok(1808)),
            ("short write, direct", Write, 512, vec![Ok(700), Ok(7680)], vec![0, 512], Ok(8192)),
            (
                "write of nothing",
                Write,
                1,
                vec![Ok(4096), Ok(0)],
                vec![0, 4096],
                Err(io::ErrorKind::WriteZero),
            ),
            ("interrupted", Read, 1, vec![errno(Errno::INTR), Ok(8192)], vec![0, 0], Ok(8192)),
            ("again", Write, 1, vec![Ok(512), errno(Errno::AGAIN), Ok(7680)], vec![0, 512, 512], Ok(8192)),
            ("cancelled", Write, 1, vec![errno(Errno::CANCELED), Ok(8192)], vec![0, 0], Ok(8192)),
            ("more than there is room for", Read, 1, vec![Ok(8193)], vec![0], Err(io::ErrorKind::Other)),
            ("failed", Read, 1, vec![eio()], vec![0], Err(eio_kind())),
            ("failed half way", Write, 1, vec![Ok(512), eio()], vec![0, 512], Err(eio_kind())),
        ];
        for (name, direction, align, answers, offsets, outcome) in rows {
            assert_eq!(play(direction, 8192, align, answers), (offsets, outcome), "{name}");
        }
    }

    #[test]
    fn what_never_moves_on_ends_with_its_error() {
        for (direction, align, answer, moves) in [
            (Read, 1, errno(Errno::INTR), 0),
            (Write, 512, errno(Errno::AGAIN), 0),
            (Read, 1, errno(Errno::CANCELED), 0),
            // A write that never gets over the first block.
            (Write, 4096, Ok(1000), 1),
        ] {
            let mut attempts = 0;
            let outcome = drive(Progress::new(direction, 8192, align), None, |_| {
                attempts += 1;
                match &answer {
                    Ok(count) => Ok(*count),
                    Err(error) => Err(io::Error::from_raw_os_error(error.raw_os_error().unwrap())),
                }
            });
            assert!(outcome.is_err());
            assert_eq!(attempts, moves + FUTILE_LIMIT + 1);
        }
    }

    proptest! {
        /// A disk that answers with any lengths that it may (multiples of the alignment but at the end of the file, never more
        /// than there is) and any transient errors in between: the right number of bytes, in bounded attempts.
        #[test]
        fn any_row_of_short_answers_ends_right(
            total_blocks in 1_usize..40,
            file_len in 0_usize..24_000,
            align in prop_oneof![Just(1_usize), Just(512)],
            write: bool,
            answers in prop::collection::vec((1_usize..6000, 0_u8..4), 1..50),
        ) {
            let total = total_blocks * 512;
            let direction = if write { Write } else { Read };
            let end = if write { total } else { total.min(file_len) };
            let mut covered = 0;
            let mut attempts = 0;
            let mut answers = answers.into_iter().cycle();
            let outcome = drive(Progress::new(direction, total, align as u32), None, |next| {
                attempts += 1;
                assert!(next.is_multiple_of(align), "unaligned attempt");
                assert!(next <= covered, "bytes {covered}..{next} left out");
                let (wish, hiccup) = answers.next().unwrap();
                if hiccup == 0 && attempts % 2 == 0 {
                    return errno(Errno::INTR);
                }
                let left = end.saturating_sub(next);
                let count = left.min(wish.next_multiple_of(align));
                covered = covered.max(next + count);
                Ok(count)
            });
            prop_assert_eq!(outcome.unwrap(), end);
            prop_assert!(covered >= end);
            prop_assert!(attempts <= 2 * (total + 2), "{} attempts", attempts);
        }
    }
}
