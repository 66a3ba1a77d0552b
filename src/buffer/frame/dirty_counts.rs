//! How many dirty pages each file has, and the bound of that: other files keep frames, whatever becomes of its writes (C6).
//!
//! A dirty page keeps its frame until it is written, and a file may refuse writes for good. So beside other open files a file has at most
//! seven eighths of the frames that the dirty pages of others leave. A thread or task that wants to change a *clean* page of a file that has
//! as many has pages of it [written](MakesRoom) first. A page that is dirty already can always be changed.
//!
//! Invariant: a page counts while it is DIRTY or WRITING, from just after the step that makes it so to just after the one that leaves it
//! clean. So a count is off by what is being changed or written at the moment, and right at rest.
//!
//! Lock order: the locks here are leaves.

use std::task::{Poll, Waker};

use crate::{
    buffer::frame::sparse_map::SparseMap,
    error::{Error, Result},
    id::FileId,
    sync::{
        Arc,
        batch_status::BatchStatus,
        time::Instant,
        uncontrolled::{AtomicBool, AtomicUsize, Mutex, Ordering::Relaxed},
    },
};

/// Files are counted apart by the last bits of their numbers. Those that agree in these share what one may have.
const FILES: usize = if cfg!(loom) { 1 } else { 256 };

/// Returns how many of so many frames a file's dirty pages may have: all but an eighth, and one at least is left; but one of one.
const fn share(frames: usize) -> usize {
    if frames < 2 { frames } else { frames - frames.div_ceil(8) }
}

/// Makes room for changes: the part of the pool that writes pages.
pub(crate) trait MakesRoom: Send + Sync {
    /// Has pages of the file written until a further one may become dirty. Fails with the error of the write where none can be.
    /// Must be polled again after a wake-up, which may be missed.
    fn poll_room(&self, file: FileId, wait: &mut RoomWait, waker: &Waker) -> Poll<Result<()>>;
}

#[derive(Default)]
pub(crate) struct RoomWait {
    /// Pages that are being written on its behalf.
    pub(crate) round: Option<Arc<BatchStatus>>,
    /// The file's count when it changed last, as far as this caller has seen; and when it saw that.
    pub(crate) seen: Option<(usize, Instant)>,
    pub(crate) since: Option<Instant>,
    /// Since when its rounds were refused.
    pub(crate) refused_since: Option<Instant>,
    /// The round was begun a moment after that: its error is the answer.
    pub(crate) is_last: bool,
}

pub(crate) struct DirtyCounts {
    /// So many that a file may have its share: looked at by each write guard, and so in a line that hardly ever changes.
    is_short: AtomicBool,
    maker: Mutex<Option<Arc<dyn MakesRoom>>>,
    tallies: Box<DirtyTallies>,
    /// Files whose last write has failed, with the error.
    refusals: SparseMap<FileId, Error>,
}

#[repr(align(128))]
struct DirtyTallies {
    all: AtomicUsize,
    by_file: [AtomicUsize; FILES],
}

impl DirtyCounts {
    pub(crate) fn new() -> Self {
        let by_file = [const { AtomicUsize::new(0) }; FILES];
        Self {
            is_short: AtomicBool::new(false),
            maker: Mutex::new(None),
            tallies: Box::new(DirtyTallies { all: AtomicUsize::new(0), by_file }),
            refusals: SparseMap::default(),
        }
    }

    /// Sets what makes room. Without it there is no bound.
    pub(crate) fn set_maker(&self, maker: Arc<dyn MakesRoom>) {
        *self.maker.lock() = Some(maker);
    }

    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.tallies)
    }

    /// Returns how many pages of the file are dirty or being written, about.
    pub(crate) fn of(&self, file: FileId) -> usize {
        at_rest(&self.tallies.by_file[file.0 as usize % FILES])
    }

    pub(crate) fn all(&self) -> usize {
        at_rest(&self.tallies.all)
    }

    pub(crate) fn is_full(&self, file: FileId, frames: usize, is_alone: bool) -> bool {
        let own = self.of(file);
        let left = frames.saturating_sub(self.all().saturating_sub(own));
        !is_alone && own >= share(left).max(1) && !seeded!("dirty_pages_fill_the_pool")
    }

    pub(super) fn add(&self, file: FileId) {
        self.tallies.all.fetch_add(1, Relaxed);
        self.tallies.by_file[file.0 as usize % FILES].fetch_add(1, Relaxed);
    }

    pub(super) fn take_off(&self, file: FileId, pages: usize) {
        let pages = if seeded!("written_page_stays_counted") { 0 } else { pages };
        self.tallies.all.fetch_sub(pages, Relaxed);
        self.tallies.by_file[file.0 as usize % FILES].fetch_sub(pages, Relaxed);
    }

    #[inline]
    pub(super) fn note(&self, frames: usize, is_alone: impl FnOnce() -> bool) {
        // Each file has at most the share, and so have all together as long as there are fewer.
        let is_short = self.all() >= share(frames) && !is_alone();
        if self.is_short.load(Relaxed) != is_short {
            self.is_short.store(is_short, Relaxed);
        }
    }

    pub(crate) fn note_write(&self, file: FileId, error: Option<&Error>) {
        match error {
            Some(error) => self.refusals.insert(file, error.clone()),
            None => self.refusals.remove(&file),
        }
    }

    pub(crate) fn refusal(&self, file: FileId) -> Option<Error> {
        self.refusals.get(&file)
    }

    pub(crate) fn refuses(&self, file: FileId) -> bool {
        self.refusals.contains(&file)
    }

    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.is_short.load(Relaxed)
    }

    pub(super) fn maker(&self) -> Option<Arc<dyn MakesRoom>> {
        self.maker.lock().clone()
    }

    #[inline]
    pub(crate) fn any_refused(&self) -> bool {
        self.refusals.len() > 0
    }
}

/// Returns a count, which may be less than nothing for a moment.
fn at_rest(count: &AtomicUsize) -> usize {
    (count.load(Relaxed) as isize).max(0) as usize
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const FILES: [FileId; 3] = [FileId(0), FileId(1), FileId(2)];

    #[test]
    fn c6_each_file_leaves_an_eighth_of_the_frames_that_others_leave() {
        let dirty = |frames: usize, is_alone| {
            let counts = DirtyCounts::new();
            FILES.map(|file| {
                let more = || (!counts.is_full(file, frames, is_alone)).then(|| counts.add(file));
                std::iter::from_fn(more).take(2 * frames).count()
            })
        };
        assert_eq!(dirty(64, false), [56, 7, 1]);
        assert_eq!(dirty(8, false), [7, 1, 1], "one page at least");
        assert_eq!(dirty(1, false), [1, 1, 1]);
        assert_eq!(dirty(4, true)[0], 8, "no bound");
    }

    #[test]
    fn a_refusal_lasts_until_a_write_of_the_file_arrives() {
        let counts = DirtyCounts::new();
        let [one, other, _] = FILES;
        counts.note_write(one, None);
        assert!(!counts.any_refused());
        counts.note_write(one, Some(&Error::ShutDown));
        counts.note_write(other, None);
        assert!(matches!(counts.refusal(one), Some(Error::ShutDown)) && counts.refusal(other).is_none());
        counts.note_write(one, None);
        assert!(counts.refusal(one).is_none() && !counts.any_refused());
    }
}
