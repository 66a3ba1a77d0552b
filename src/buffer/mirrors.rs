//! Mirrors: copies of the few pages that every thread reads, to be read without a trace.
//!
//! Who reads a page in its frame writes to the frame's state word, twice. For the root of a tree, which all threads read all the
//! time, those writes are what they wait for: the word's cache line goes from core to core. A mirror is a copy of such a page
//! under a version, and reading it writes nothing that another thread reads. What was read counts only if the version is still
//! the same afterwards, so each access asks for that before it gives its bytes away.
//!
//! The copy is what makes that sound. The bytes in a frame are changed through `&mut [u8]` and by the device, so a look at them
//! without a latch would be a data race, however it is done. A mirror is made of atomic words, for who writes them too. (The
//! protocol is the seqlock of Boehm, "Can seqlocks get along with programming language memory models?", 2012.)
//!
//! Invariants:
//! 1. a mirror changes only in the hands of who made its version odd; with an even one it holds one page, as of one moment;
//! 2. a page that has a mirror is MIRRORED, which is set, and the mirror made, under a share latch. Who wants to change the page
//!    drops the mirror first, under the exclusive latch, and so does who claims its frame. The mark may outlast the mirror,
//!    which gives way to that of another page; never the other way round;
//! 3. a page that is gone, or comes into another frame, has no mirror. The claim of its old frame and the end of the mirror are two
//!    steps, so a thread that takes a claimed frame's page for gone ends the mirror itself: a miss that maps the page anew, and a
//!    cut or a close before it returns. To end one twice does no harm.
//!
//! Nobody waits here: a mirror that is being made is passed over. A page finds its mirror in one of [`WAYS`] places, so one that
//! was not read since somebody else came by in vain gives way. Reading a mirror is a use of the page, which stays in the pool.

use std::array::from_fn;

use crate::{
    buffer::{
        frame::{pin::Pin, state::State},
        memory::huge_slice::HugeSlice,
        pool::FramePool,
    },
    error::Result,
    id::{FrameNo, PageId, PageSize},
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
};

/// Places where the mirror of a page may be.
const WAYS: usize = if cfg!(loom) { 1 } else { 4 };

/// Frames for which there is one mirror: a few ten-thousandths of the memory.
const FRAMES_PER_MIRROR: usize = 4096;

/// The most sets of mirrors: enough for the upper levels of any tree.
const SETS_MAX: usize = 64;

const WORD: usize = size_of::<u64>();

/// No page has this word: no file has so many blocks.
const NO_PAGE: u64 = u64::MAX;

pub(crate) struct Mirrors {
    sets: HugeSlice<Set>,
    words: HugeSlice<AtomicU64>,
    words_per_page: usize,
}

/// The places of the pages that hash alike.
#[repr(align(64))]
struct Set([Mirror; WAYS]);

struct Mirror {
    /// Odd while it is being changed.
    version: AtomicU64,
    page: AtomicU64,
    frame: AtomicU32,
    /// Read since somebody came by who would have liked the place.
    is_read: AtomicBool,
}

/// A mirror as it is being read.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    version: &'a AtomicU64,
    expected: u64,
    words: &'a [AtomicU64],
    frame: FrameNo,
}

impl Mirrors {
    /// For a pool that has so many frames in the end.
    pub(super) fn new(most: u32, page_size: PageSize) -> Result<Self> {
        let sets = (most as usize / FRAMES_PER_MIRROR / WAYS).clamp(1, SETS_MAX);
        let words_per_page = page_size.bytes() / WORD;
        Ok(Self {
            sets: HugeSlice::new(sets, || Set(from_fn(|_| Mirror::new())))?,
            words: HugeSlice::new(sets * WAYS * words_per_page, || AtomicU64::new(0))?,
            words_per_page,
        })
    }

    /// The bytes the mirrors take.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.sets) + size_of_val(&*self.words)
    }

    /// The places for the page, each with its words.
    #[inline]
    fn places(&self, page: PageId) -> impl Iterator<Item = (&Mirror, &[AtomicU64])> {
        let set = ((u128::from(page.spread()) * self.sets.len() as u128) >> 64) as usize;
        let words = &self.words[set * WAYS * self.words_per_page..][..WAYS * self.words_per_page];
        self.sets[set].0.iter().zip(words.chunks_exact(self.words_per_page))
    }

    #[inline]
    fn find(&self, page: PageId) -> Option<Look<'_>> {
        self.places(page).find_map(|(mirror, words)| {
            let expected = mirror.version.load(Ordering::Acquire);
            if expected % 2 == 1 || mirror.page.load(Ordering::Relaxed) != page.to_word() {
                return None;
            }
            // Written only where it is not set, so hardly ever.
            if !mirror.is_read.load(Ordering::Relaxed) {
                mirror.is_read.store(true, Ordering::Relaxed);
            }
            let frame = FrameNo(mirror.frame.load(Ordering::Relaxed));
            Some(Look { version: &mirror.version, expected, words, frame })
        })
    }

    /// Makes a mirror of the page, if it has none and there is a place for one. The caller holds a share latch, and the page is
    /// marked.
    fn put(&self, page: PageId, frame: FrameNo, bytes: &[u8]) {
        if self.places(page).any(|(mirror, _)| mirror.holds(page)) {
            return;
        }
        // All that were read meanwhile are spared, and asked again the next time.
        let spared =
            |mirror: &Mirror| mirror.page().is_some() && mirror.is_read.swap(false, Ordering::Relaxed);
        let Some((mirror, words)) = self.places(page).find(|(mirror, _)| !spared(mirror)) else { return };
        mirror.change(|| {
            mirror.page.store(page.to_word(), Ordering::Relaxed);
            mirror.frame.store(frame.0, Ordering::Relaxed);
            for (word, bytes) in words.iter().zip(bytes.as_chunks::<WORD>().0) {
                word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
            }
        });
    }

    /// Nobody finds a copy of the page from here on, and what is read of one meanwhile does not count.
    fn remove(&self, page: PageId) {
        self.places(page).filter(|(mirror, _)| mirror.holds(page)).for_each(|(mirror, _)| mirror.clear());
    }

    /// The same for all pages that are `such`.
    fn remove_all(&self, such: impl Fn(PageId) -> bool) {
        let mirrors = self.sets.iter().flat_map(|set| &set.0);
        mirrors.filter(|mirror| mirror.page().is_some_and(&such)).for_each(Mirror::clear);
    }
}

impl Mirror {
    fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            page: AtomicU64::new(NO_PAGE),
            frame: AtomicU32::new(0),
            is_read: AtomicBool::new(false),
        }
    }

    fn holds(&self, page: PageId) -> bool {
        self.page.load(Ordering::Relaxed) == page.to_word()
    }

    fn page(&self) -> Option<PageId> {
        let word = self.page.load(Ordering::Relaxed);
        (word != NO_PAGE).then(|| PageId::from_word(word))
    }

    /// Ends the copy. Where another thread has it in hand it ends the same copy, or makes that of another page: nobody makes one of
    /// this page now.
    fn clear(&self) {
        self.change(|| self.page.store(NO_PAGE, Ordering::Relaxed));
    }

    /// Has `change` change it, unless somebody else does that.
    fn change(&self, change: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        let take = |even| self.version.compare_exchange(even, even + 1, Ordering::Acquire, Ordering::Relaxed);
        if version % 2 == 1 || take(version).is_err() {
            return;
        }
        // Who reads one of the new words then sees that the version is another.
        fence(Ordering::Release);
        change();
        self.version.store(version + 2, Ordering::Release);
    }
}

impl Look<'_> {
    /// The bytes of the page.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.words.len() * WORD
    }

    /// Copies the bytes from `at` on, which must lie in the page, unless the page has changed since the look began: then what is
    /// in `to` means nothing.
    #[inline]
    #[must_use]
    pub(crate) fn copy_to(&self, at: usize, to: &mut [u8]) -> bool {
        let mut at = at;
        let mut rest = to;
        while !rest.is_empty() {
            let word = self.words[at / WORD].load(Ordering::Relaxed).to_ne_bytes();
            let wanted = &word[at % WORD..];
            let (now, later) = rest.split_at_mut(wanted.len().min(rest.len()));
            now.copy_from_slice(&wanted[..now.len()]);
            at += now.len();
            rest = later;
        }
        // Ordered after the words: a word of a later version would show that version.
        fence(Ordering::Acquire);
        self.version.load(Ordering::Relaxed) == self.expected
    }
}

impl FramePool {
    /// A look at the page's copy, if there is one. It is a use of the page.
    #[inline]
    pub(crate) fn look_aside(&self, page: PageId) -> Option<Look<'_>> {
        let look = self.mirrors.find(page)?;
        // The frame may have another page by now: then that has been used once more.
        let _ = self.frame(look.frame).state.try_update(State::use_mirrored);
        Some(look)
    }

    /// The page in the frame is about to change or to go. By who holds the exclusive latch or the claim.
    #[inline]
    pub(super) fn drop_mirror(&self, no: FrameNo) {
        if self.end_mirror(no) {
            self.frame(no).state.update(State::unmark_mirrored);
        }
    }

    /// Ends the copy of the page in the frame, if it may have one. The frame keeps its page meanwhile: the caller has its exclusive
    /// latch or its claim; or another thread has claimed it, and the caller the lock under which that thread must unmap it.
    #[inline]
    pub(super) fn end_mirror(&self, no: FrameNo) -> bool {
        let frame = self.frame(no);
        let is_mirrored = frame.state.load().is_mirrored();
        if is_mirrored {
            self.mirrors.remove(frame.page());
        }
        is_mirrored
    }

    /// Ends the copies of all pages that are `such`, which were found to be gone, or are out of reach.
    pub(crate) fn end_mirrors(&self, such: impl Fn(PageId) -> bool) {
        // Of a frame that has its next page already, its claimant ended the copy before it named that page.
        fence(Ordering::Acquire);
        self.mirrors.remove_all(such);
    }
}

impl Pin {
    /// Offers the page to those who read it without a latch. `bytes` are the page's; the caller holds a share latch.
    pub(crate) fn mirror(&self, bytes: &[u8]) {
        // It may be marked already.
        let _ = self.frame().state.try_update(State::mark_mirrored);
        self.pool().mirrors.put(self.frame().page(), self.frame_no(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buffer::{
            frame::{latch::Latch, pin::PoolHandle},
            pool::Mapped,
        },
        id::FileId,
        observe::Counters,
        sync::Arc,
    };

    /// Reads the page into a frame.
    fn read(pool: &PoolHandle, page: PageId) -> Pin {
        let claimed = pool.take_clean().unwrap();
        let Mapped { reading, own } = pool.map(claimed, page, false).unwrap();
        reading.end_read(&Ok(()), true);
        own
    }

    fn mirror(pin: &Pin) {
        pin.latch(Latch::Shared);
        pin.mirror(&[1; PageSize::MIN.bytes()]);
        pin.unlatch_shared();
    }

    /// The thread that claimed the page's frame is stopped before it ends the copy.
    #[test]
    fn c1_a_page_that_comes_into_another_frame_has_no_copy() {
        let pool = PoolHandle::new(FramePool::new(2, PageSize::MIN, 1, Arc::new(Counters::new())).unwrap());
        let page = PageId::new(FileId(0), 1);
        let old = read(&pool, page);
        let (no, _) = (old.frame_no(), mirror(&old));
        let look = pool.look_aside(page).unwrap();
        drop(old);
        pool.frame(no).state.try_update(State::claim).unwrap();
        let new = read(&pool, page);
        assert!(pool.look_aside(page).is_none(), "the page may change from here on");
        assert!(!look.copy_to(0, &mut [0]));
        mirror(&new);
        let fresh = pool.look_aside(page).unwrap();
        // The claimant goes on. It may end the new copy, which does no harm; the next frame may have one again.
        drop(pool.claimed(no));
        assert!(!fresh.copy_to(0, &mut [0]) || pool.look_aside(page).is_some());
        mirror(&new);
        assert!(pool.look_aside(page).is_some());
    }
}
