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
//!    which gives way to that of another page; never the other way round.
//!
//! Nobody waits here: a mirror that is being made is passed over. A page finds its mirror in one of [`WAYS`] places, so one that
//! was not read since somebody else came by in vain gives way. Reading a mirror is a use of the page, which stays in the pool.

use std::array::from_fn;

use crate::{
    error::Result,
    id::{FrameNo, PageId, PageSize},
    pool::{frame_pool::FramePool, handle::Pin, huge_slice::HugeSlice, state::State, table::mix},
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
        let set = ((u128::from(mix(page.to_word())) * self.sets.len() as u128) >> 64) as usize;
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
            |mirror: &Mirror| !mirror.holds_nothing() && mirror.is_read.swap(false, Ordering::Relaxed);
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
        for (mirror, _) in self.places(page).filter(|(mirror, _)| mirror.holds(page)) {
            // Where somebody else has it in hand it is to become another page's: nobody makes one of this page now.
            mirror.change(|| mirror.page.store(NO_PAGE, Ordering::Relaxed));
        }
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

    fn holds_nothing(&self) -> bool {
        self.page.load(Ordering::Relaxed) == NO_PAGE
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
        let frame = self.frame(no);
        if frame.state.load().is_mirrored() {
            self.mirrors.remove(frame.page());
            frame.state.update(State::unmark_mirrored);
        }
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
