//! Growing and cutting a file: what is on disk, and which of it is published.
//!
//! A [`SizeLock`] is the right to change the length on disk. Handing out blocks that are zeroed already takes the short lock of
//! [`Growth`](super::growth::Growth) alone. Extensions that come together get in line; the thread that has the right zeroes for all of them.
//!
//! Invariants: a block is published only when it is zeroed on disk, so that no transfer ever turns unwritten space into written space
//! (which file systems do slowly, and one at a time); an extension that fails leaves no block behind; while a thread has
//! [published an end](SizeLock::publish_end) no other thread moves it.

use std::io;

use crate::{
    error::{Callback, ConfigError, Error, IoOp, Result},
    id::{PageAddress, PageId},
    io::{
        aligned::AlignedZeros,
        file::{
            File,
            growth::{Effort, GrowthTicket, ZeroingRound},
            plain_transfer,
        },
    },
    observe::Counters,
    sync::{MutexGuard, atomic::Ordering, callback, on_drop::OnDrop},
};

/// The most zeros that are written at once.
const PIECE: usize = 1 << 20;

impl File {
    /// Adds zeroed blocks and returns the first of them.
    ///
    /// # Errors
    /// The file is as long as before; [`Error::NotOpen`] if it was closed meanwhile.
    pub(crate) fn extend(&self, blocks: u32, counters: &Counters) -> Result<u32> {
        self.check_size_is_free()?;
        let ticket = {
            let mut growth = self.growth.lock();
            let first = self.blocks();
            // A thread that closes the file looks for pages up to the end that it has found.
            if (!self.is_closed() || seeded!("closing_file_extended"))
                && let Some(end) = growth.end_at_once(first, blocks)
            {
                self.set_blocks(end);
                return Ok(first);
            }
            growth.get_in_line(blocks)
        };
        self.lock_size().serve(ticket, counters)
    }

    /// Keeps a wish in the line of extensions until it is granted or refused, or the thread panics.
    fn in_line(&self, ticket: GrowthTicket) -> OnDrop<impl FnOnce()> {
        OnDrop::of(move || self.growth.lock().withdraw(ticket))
    }

    /// Takes the right to change the length on disk. Waits for an extension, truncation or close that is under way.
    pub(crate) fn lock_size(&self) -> SizeLock<'_> {
        SizeLock { file: self, _held: self.size.lock() }
    }

    pub(crate) fn check_size_is_free(&self) -> Result<()> {
        if self.has_fixed_size { Err(Error::FixedSize { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Returns how many blocks are zeroed on disk behind the end.
    pub(crate) fn blocks_ahead(&self) -> u32 {
        let growth = self.growth.lock();
        growth.ready - self.blocks()
    }

    /// Returns whether the caller should have a step [zeroed ahead](SizeLock::zero_ahead), because little is left of the last
    /// one. Returns true once for each such step.
    pub(crate) fn wants_zeros_ahead(&self) -> bool {
        let mut growth = self.growth.lock();
        growth.order_ahead(self.blocks())
    }
}

#[derive(Debug)]
pub(crate) struct SizeLock<'a> {
    file: &'a File,
    _held: MutexGuard<'a, ()>,
}

impl<'a> SizeLock<'a> {
    /// Serves the line until it is the turn of this ticket, and returns its first block.
    fn serve(&self, ticket: GrowthTicket, counters: &Counters) -> Result<u32> {
        let file = self.file;
        let mut effort = Effort::Ahead;
        // Dropped before this lock is: so no thread counts on a line that gets shorter.
        let _wish = file.in_line(ticket);
        loop {
            let mut growth = file.growth.lock();
            if let Some(outcome) = growth.collect(ticket) {
                return outcome;
            }
            // It may by now be open under another id, which knows nothing of this one's changes.
            if file.is_closed() {
                growth.refuse_first(Error::NotOpen { file: file.id });
                continue;
            }
            drop(growth);
            if let Err((round, error)) = self.play(effort, counters) {
                let mut growth = file.growth.lock();
                match growth.lesser(file.blocks(), round) {
                    Some(lesser) => effort = lesser,
                    None => growth.refuse_first(error),
                }
            }
        }
    }

    /// Zeroes a step ahead, for later extensions. If that fails, they will report it.
    pub(crate) fn zero_ahead(&self, counters: &Counters) {
        // Also by a panic: otherwise no other step would ever be ordered.
        let _done = OnDrop::of(|| self.file.growth.lock().ahead_is_done());
        if !self.file.is_closed() {
            let _ = self.play(Effort::Ahead, counters);
        }
    }

    /// Plays one round: zeroes on disk, and then grants the wishes in line for which it was made.
    fn play(&self, effort: Effort, counters: &Counters) -> Result<(), (ZeroingRound, Error)> {
        let file = self.file;
        let round = file.growth.lock().round(file.blocks(), effort);
        let end = self.zero(round.from, round.to, counters).map_err(|error| (round, error))?;
        let mut growth = file.growth.lock();
        file.set_blocks(growth.grant(file.blocks(), round, end));
        Ok(())
    }

    /// Publishes an end that does not lie behind the former one: as a rule what is behind it is then [cut off](Self::cut). The former end
    /// is published again when the returned value is dropped, unless the new one is kept.
    pub(crate) fn publish_end(&self, blocks: u32) -> OnDrop<impl FnOnce() + use<'a>> {
        let file = self.file;
        let mut growth = file.growth.lock();
        let (former, ready) = (file.blocks(), growth.ready);
        debug_assert!(blocks <= former);
        growth.ready = blocks;
        file.set_blocks(blocks);
        OnDrop::of(move || {
            if !seeded!("failed_cut_not_undone") {
                let mut growth = file.growth.lock();
                growth.ready = ready;
                file.set_blocks(former);
            }
        })
    }

    /// Cuts off on disk what lies behind the end. The caller has already dropped the pages in frames.
    ///
    /// The length tells what came of it: ext4 changes that first, and then may report an error all the same, when what was cut is
    /// gone for good.
    pub(crate) fn cut(&self) -> Result<()> {
        let end = self.bytes(self.file.blocks());
        let cut = self.file.disk.set_len(end);
        self.file.note_written();
        match cut {
            Err(error) if !self.file.disk.len().is_ok_and(|len| len == end) => {
                Err(self.file.error(IoOp::Truncate, error))
            }
            _ => {
                self.file.growth.lock().has_remains = false;
                self.file.pages_end.store(self.file.blocks(), Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Cuts off what was zeroed ahead, or was left by a growth that failed. From here on, and for as long as this right lasts, no
    /// extension gets a block.
    pub(crate) fn give_back_ahead(&self) -> Result<()> {
        let has_remains = self.file.growth.lock().has_remains && !seeded!("failed_growth_left_on_disk");
        if self.file.blocks_ahead() == 0 && !has_remains {
            return Ok(());
        }
        let end = self.publish_end(self.file.blocks());
        self.cut()?;
        end.keep();
        Ok(())
    }

    /// Zeroes the file on disk from block `from`, behind which no thread reads or writes, up to block `to`, and returns that.
    fn zero(&self, from: u32, to: u64, counters: &Counters) -> Result<u32> {
        let file = self.file;
        let Ok(end) = u32::try_from(to) else {
            let (blocks, most) = (file.blocks(), u32::MAX);
            let advice = format!("the file has {blocks} already, and a file has at most {most} blocks");
            return Err(ConfigError::new("blocks", to - u64::from(blocks), advice).at(&file.path).into());
        };
        if end == from {
            return Ok(end);
        }
        // From the first whole new block on: nothing below is written, because its frames may be in a write.
        let (from, to) = (self.bytes(from), self.bytes(end));
        // The file system finds the space, or reports that there is none. It completes a last block that is not whole with zeros
        // itself, as it does for anything that begins behind the end.
        let grown = match file.disk.allocate(from, to - from) {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(file.error(IoOp::Extend, error)),
            _ => self.write_new_pages(from, to, counters),
        };
        // Even a failed one may have changed the length.
        file.note_written();
        match grown {
            Ok(()) => Ok(end),
            Err(error) => {
                // Not to an odd length that it may have had before: the last block may have been written in full meanwhile.
                // If this fails too, the blocks are on disk but not in the pool: the next extension zeroes them again, or a close cuts
                // them off.
                file.growth.lock().has_remains = file.disk.set_len(from).is_err();
                Err(error)
            }
        }
    }

    fn bytes(&self, blocks: u32) -> u64 {
        u64::from(blocks) * self.file.page_size.bytes() as u64
    }

    /// Writes pages of zeros; with a codec, sealed: so that zeros are what was never written, or is lost.
    ///
    /// # Errors
    /// The write failed, or the codec panicked: then blocks may be on disk that are not sealed.
    fn write_new_pages(&self, from: u64, to: u64, counters: &Counters) -> Result<()> {
        let file = self.file;
        let page = file.page_size.bytes();
        let mut pages = AlignedZeros::new(PIECE.min((to - from) as usize), page.max(4096));
        let mut at = from;
        while at < to {
            let len = pages.as_slice().len().min((to - at) as usize);
            let piece = &mut pages.as_mut_slice()[..len];
            if let Some(codec) = file.codec.as_ref().filter(|_| !seeded!("new_page_not_sealed")) {
                piece.fill(0);
                for (block, page) in (at / page as u64..).zip(piece.chunks_exact_mut(page)) {
                    let block = block as u32;
                    let sealed = callback::contained(|| codec.seal(PageAddress::new(file.tag, block), page));
                    sealed.map_err(|_| {
                        Error::panicked_over(Callback::CodecSeal, PageId::new(file.id, block), &file.path)
                    })?;
                }
            }
            plain_transfer::write(file, &[piece], at, counters)
                .map_err(|error| file.error(IoOp::Extend, error))?;
            at += len as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{
        error::Error,
        id::{BlockNo, FileId, PageSize},
        io::{
            file::open_options::OpenOptions,
            options::Fallback,
            tests::support::{FakeDisk, os_file},
        },
        testing::{Fault, Op, SimDisk},
    };

    const PAGE: usize = 8192;

    #[test]
    fn growing_zeroes_and_keeps_what_was_there() {
        for direct in [Fallback::Off, Fallback::Prefer] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let old: Vec<u8> = (0..PAGE + 1808).map(|at| (at % 251) as u8 + 1).collect();
            std::fs::write(file.path(), &old).unwrap();
            let open = os_file(file.path(), &OpenOptions::new().direct(direct)).unwrap();
            assert_eq!(open.blocks(), 2);
            // More than one piece, and not a multiple of it.
            assert_eq!(open.extend(301, &Counters::new()).unwrap(), 2);
            assert_eq!(open.blocks(), 303);
            let bytes = std::fs::read(file.path()).unwrap();
            assert_eq!(bytes.len(), 303 * PAGE);
            assert_eq!(bytes[..old.len()], old);
            assert!(bytes[old.len()..].iter().all(|&byte| byte == 0));
            assert!(open.sync(&Counters::new()).unwrap(), "the new length is not durable yet");
        }
    }

    #[test]
    fn growing_by_short_writes_zeroes_all_the_same() {
        let disk = FakeDisk::new(vec![7; 2 * PAGE]);
        let file = disk.open_file(PAGE as u32).unwrap();
        disk.transfer_at_most([100, 5000, 3].repeat(3));
        file.extend(3, &Counters::new()).unwrap();
        let bytes = disk.bytes();
        assert_eq!(bytes.len(), 5 * PAGE);
        assert!(
            bytes[..2 * PAGE].iter().all(|&byte| byte == 7)
                && bytes[2 * PAGE..].iter().all(|&byte| byte == 0)
        );
    }

    #[test]
    fn a_caller_that_comes_while_one_zeroes_is_served_with_all_others_by_one_write() {
        let disk = SimDisk::new();
        disk.put("data", vec![7; PAGE]);
        let options = OpenOptions::new();
        let file = File::open(&disk, FileId(0), "data".as_ref(), &options, PageSize::DEFAULT).unwrap();
        let gate = disk.hold(Op::Resize);
        let mut firsts: Vec<u32> = std::thread::scope(|scope| {
            let extend = || file.extend(1, &Counters::new()).unwrap();
            let mut all = vec![scope.spawn(extend)];
            gate.wait_for(1);
            all.extend((1..64).map(|_| scope.spawn(extend)));
            while file.growth.lock().round(1, Effort::All).to < 65 {
                std::thread::yield_now();
            }
            gate.open();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        firsts.sort_unstable();
        assert_eq!(firsts, (1..65).collect::<Vec<_>>());
        assert_eq!((disk.count(Op::Resize), disk.count(Op::Write)), (2, 2));
    }

    #[test]
    fn an_extension_that_fails_leaves_no_block_behind() {
        let disk = FakeDisk::new(vec![7; 2 * PAGE]);
        let file = disk.open_file(PAGE as u32).unwrap();
        // Once the first piece is on disk.
        disk.fail_write(1, 28);
        let error = file.extend(198, &Counters::new()).unwrap_err();
        assert!(matches!(error, Error::File { op: IoOp::Extend, .. }));
        assert_eq!(error.raw_os_error(), Some(28));
        assert_eq!((file.blocks(), disk.bytes().len()), (2, 2 * PAGE));
        file.extend(3, &Counters::new()).unwrap();
        assert_eq!(disk.bytes().len(), 5 * PAGE);
    }

    #[test]
    fn what_a_failed_extension_could_not_cut_off_is_cut_by_the_close() {
        const EIO: i32 = 5;
        let disk = SimDisk::new();
        disk.put("data", vec![7; 2 * PAGE]);
        let options = OpenOptions::new();
        let file = File::open(&disk, FileId(0), "data".as_ref(), &options, PageSize::DEFAULT).unwrap();
        let len = || disk.image("data").unwrap().len();
        disk.inject(Fault::error(Op::Write, EIO));
        disk.inject(Fault::error(Op::Resize, EIO).after(1));
        file.extend(3, &Counters::new()).unwrap_err();
        assert_eq!((file.blocks(), len()), (2, 5 * PAGE));
        file.lock_size().give_back_ahead().unwrap_err();
        disk.heal();
        file.lock_size().give_back_ahead().unwrap();
        assert_eq!((file.blocks(), len()), (2, 2 * PAGE));
    }

    #[test]
    fn a_cut_that_failed_is_one_if_the_file_has_become_shorter() {
        const EIO: i32 = 5;
        let disk = SimDisk::new();
        disk.put("data", vec![7; 3 * PAGE]);
        let options = OpenOptions::new();
        let file = File::open(&disk, FileId(0), "data".as_ref(), &options, PageSize::DEFAULT).unwrap();
        let size = file.lock_size();
        let end = size.publish_end(1);
        disk.inject(Fault::error(Op::Resize, EIO));
        assert_eq!(size.cut().unwrap_err().raw_os_error(), Some(EIO));
        drop(end);
        assert_eq!((file.blocks(), disk.image("data").unwrap().len()), (3, 3 * PAGE));
        size.publish_end(1).keep();
        disk.inject(Fault::torn(Op::Resize));
        size.cut().unwrap();
        assert_eq!(disk.image("data").unwrap().len(), PAGE);
    }

    #[test]
    fn a_file_that_is_being_closed_gets_no_block_that_was_zeroed_ahead() {
        let disk = FakeDisk::new(vec![7; PAGE]);
        let options = OpenOptions::new().grow_by_blocks(4);
        let file = File::open(&disk, FileId(0), "fake".as_ref(), &options, PageSize::DEFAULT).unwrap();
        file.extend(1, &Counters::new()).unwrap();
        assert!(file.blocks_ahead() > 0, "a test of nothing");
        file.begin_closing().keep();
        assert!(matches!(file.extend(1, &Counters::new()), Err(Error::NotOpen { .. })));
        assert_eq!(file.pages_from(BlockNo(0)), 0..2);
    }

    #[test]
    fn the_blocks_that_may_have_pages_follow_a_cut_once_it_has_succeeded() {
        let disk = FakeDisk::new(vec![7; 3 * PAGE]);
        let file = disk.open_file(PAGE as u32).unwrap();
        let size = file.lock_size();
        let end = size.publish_end(1);
        assert_eq!(file.pages_from(BlockNo(1)), 1..3, "those that are to be cut");
        drop(end);
        assert_eq!(file.pages_from(BlockNo(0)), 0..3, "it has failed");
        size.publish_end(1).keep();
        size.cut().unwrap();
        assert_eq!(file.pages_from(BlockNo(0)), 0..1);
        drop(size);
        file.extend(3, &Counters::new()).unwrap();
        assert_eq!(file.pages_from(BlockNo(0)), 0..4);
    }

    #[test]
    fn cutting_is_left_to_be_synced() {
        let disk = FakeDisk::new(vec![7; 3 * PAGE]);
        let file = disk.open_file(PAGE as u32).unwrap();
        let size = file.lock_size();
        size.publish_end(1).keep();
        size.cut().unwrap();
        assert_eq!(disk.bytes().len(), PAGE);
        assert!(file.sync(&Counters::new()).unwrap());
    }

    #[test]
    fn what_a_thread_that_panics_has_begun_is_undone() {
        let disk = FakeDisk::new(vec![7; 3 * PAGE]);
        let file = disk.open_file(PAGE as u32).unwrap();
        let panics = |body: &dyn Fn()| {
            assert!(catch_unwind(AssertUnwindSafe(body)).is_err());
        };
        panics(&|| {
            let size = file.lock_size();
            let _end = size.publish_end(1);
            panic!("on purpose");
        });
        assert_eq!((file.blocks(), file.blocks_ahead()), (3, 0));
        panics(&|| {
            let ticket = file.growth.lock().get_in_line(9);
            let _wish = file.in_line(ticket);
            panic!("on purpose");
        });
        assert_eq!(
            (file.extend(1, &Counters::new()).unwrap(), file.blocks()),
            (3, 4),
            "the wish is not served"
        );
        panics(&|| {
            let _closing = file.begin_closing();
            assert!(file.is_closed());
            panic!("on purpose");
        });
        assert!(!file.is_closed());
    }
}
