//! Steps that touch pages: fetches, what is done with a page, reading ahead.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use ringpool::{Error, PageId, PageWrite, PinnedPage, Result, StreamOptions};

use crate::{
    case::{Case, Check, Held, Holding, LONG, ensure},
    operation::{At, By, Then, Use, Way},
    stamp::{SECTOR, stamp_sectors},
};

/// How long a fetch waits for a frame that cannot come.
const SHORT: Duration = Duration::from_millis(3);

impl Case<'_> {
    pub(crate) fn fetch(&mut self, at: At, way: Way, usage: Use) -> Check {
        let fetch = self.pool().fetch(self.page_id(at)).frame_wait(self.fetch_options());
        let fetched = match way {
            Way::Wait => fetch.wait(),
            Way::Await => pollster::block_on(fetch),
            Way::TimeoutMicros(micros) => fetch
                .wait_timeout(Duration::from_micros(micros))
                .unwrap_or_else(ringpool::pending::Fetch::wait),
        };
        match self.expect(at, fetched)? {
            Some(page) => self.apply(at, page, usage),
            None => Ok(()),
        }
    }

    pub(crate) fn try_fetch(&mut self, at: At, usage: Use) -> Check {
        match self.pool().fetch(self.page_id(at)).now() {
            Some(page) => {
                ensure!(self.exists(at), "a page behind the end was in the pool");
                self.apply(at, page, usage)
            }
            None => {
                ensure!(!self.is_held(at), "a held page is not in the pool");
                Ok(())
            }
        }
    }

    /// Begins a fetch as a thread and as a task do it, and drops it before it is over.
    pub(crate) fn abandon(&mut self, at: At) -> Check {
        let fetch = self.pool().fetch(self.page_id(at)).frame_wait(self.fetch_options());
        let done = match fetch.wait_timeout(Duration::ZERO) {
            Ok(fetched) => Some(fetched),
            Err(fetch) => match pin!(fetch).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(fetched) => Some(fetched),
                Poll::Pending => None,
            },
        };
        done.map_or(Ok(()), |fetched| self.expect(at, fetched).map(drop))
    }

    pub(crate) fn prefetch(&mut self, file: usize, blocks: &[u32]) -> Check {
        let outcome = self.pool().prefetch(self.files[file].id().pages(blocks.iter().copied()));
        let total = outcome.started + outcome.already + outcome.declined;
        ensure!(total as usize == blocks.len(), "{outcome:?} do not add up to {}", blocks.len());
        let missing = blocks.iter().filter(|&&block| !self.exists(At { file, block })).count();
        ensure!(outcome.declined as usize >= missing, "{outcome:?}, where {missing} blocks do not exist");
        ensure!(outcome.started == 0 || !self.all_frames_are_held(), "{outcome:?} without a frame");
        Ok(())
    }

    pub(crate) fn stream(
        &mut self,
        file: usize,
        blocks: &[u32],
        bulk: bool,
        as_task: bool,
        taken: usize,
    ) -> Check {
        let options = if bulk { StreamOptions::new().bulk() } else { StreamOptions::new() };
        let options = options.frame_wait(self.frame_wait());
        // Each of them may wait as long as it takes to know that there is no frame.
        let most = if self.all_frames_are_held() { 5 } else { usize::MAX };
        let id = self.files[file].id();
        let asked = blocks.iter().map(|&block| (PageId::new(id, block), At { file, block }));
        let mut stream = self.pool().read_stream(asked, options);
        for &block in blocks.iter().take(taken.min(most)) {
            let next = if as_task { pollster::block_on(stream.next_page()) } else { stream.next() };
            let at = At { file, block };
            match next {
                None => return Err(format!("the stream ended before block {block}")),
                Some(Ok((page, asked))) => {
                    ensure!(asked == at, "{asked:?} instead of {at:?}");
                    let page = self.expect(at, Ok(page))?.ok_or("a page that is none")?;
                    self.compare(at, &page.read())?;
                }
                Some(Err(error)) => drop(self.expect(at, Err(error))?),
            }
        }
        ensure!(blocks.len() > taken.min(most) || stream.next().is_none(), "more pages than were asked for");
        Ok(())
    }

    pub(crate) fn fetch_many(&mut self, pages: &[At], as_task: bool) -> Check {
        let mut distinct = pages.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let frames = self.configuration.frames as usize;
        let wanted_frames = distinct.iter().filter(|&&at| self.exists(at) && !self.is_held(at)).count();
        let ids: Vec<_> = pages.iter().map(|&at| self.page_id(at)).collect();
        let fetched = {
            let many = self.pool().fetch_many(&ids).frame_wait(self.many_options(wanted_frames));
            if as_task { pollster::block_on(many) } else { many.wait() }
        };
        match fetched {
            Ok(fetched) => {
                ensure!(fetched.len() == pages.len(), "{} pages for {}", fetched.len(), pages.len());
                for (&at, page) in pages.iter().zip(fetched) {
                    ensure!(self.exists(at) && page.id() == self.page_id(at), "{} for {at:?}", page.id());
                    self.compare(at, &page.read())?;
                }
                Ok(())
            }
            Err(Error::TooManyPages { pages, .. }) => {
                ensure!(pages == distinct.len() && pages > frames, "{pages} are too many");
                Ok(())
            }
            Err(Error::PastEof { page, .. }) => {
                let first = pages.iter().find(|&&at| !self.exists(at));
                ensure!(
                    first.is_some_and(|&at| self.page_id(at) == page),
                    "PastEof names {page}, not {first:?}"
                );
                Ok(())
            }
            Err(Error::AllPinned { .. }) => {
                let left = frames - self.held_frames();
                ensure!(wanted_frames > left, "AllPinned with {left} frames for {wanted_frames} pages");
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn many_options(&self, wanted_frames: usize) -> Duration {
        let left = self.configuration.frames as usize - self.held_frames();
        if wanted_frames > left { SHORT } else { LONG }
    }

    /// Returns how long a fetch waits: long enough to succeed if it can, and short if it cannot.
    fn fetch_options(&self) -> Duration {
        self.frame_wait()
    }

    fn frame_wait(&self) -> Duration {
        if self.all_frames_are_held() { SHORT } else { LONG }
    }

    /// Compares the result of a fetch with what the model expects of it; returns the page where there is one.
    fn expect(&self, at: At, fetched: Result<PinnedPage>) -> Check<Option<PinnedPage>> {
        let no_frame_left = self.all_frames_are_held() && !self.is_held(at);
        match fetched {
            Ok(page) => {
                ensure!(self.exists(at), "a page behind the end was fetched");
                ensure!(!no_frame_left, "a page without a frame");
                ensure!(page.id() == self.page_id(at), "{} instead", page.id());
                Ok(Some(page))
            }
            Err(Error::PastEof { page, blocks, .. }) => {
                ensure!(!self.exists(at), "PastEof for a page that exists");
                ensure!(page == self.page_id(at), "PastEof names {page}");
                ensure!(blocks == self.files[at.file].mirror.blocks(), "PastEof tells of {blocks} blocks");
                Ok(None)
            }
            Err(Error::AllPinned { waited, .. }) => {
                ensure!(no_frame_left, "AllPinned after {waited:?} with {} frames held", self.held_frames());
                ensure!(waited >= SHORT, "AllPinned after {waited:?} already");
                Ok(None)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn apply(&mut self, at: At, page: PinnedPage, usage: Use) -> Check {
        self.compare(at, &page.read())?;
        match usage {
            Use::Read => Ok(()),
            Use::ReadAsTask => self.compare(at, &pollster::block_on(page.read_async())),
            Use::Copy => {
                let copy = page.to_bytes();
                drop(page);
                self.compare(at, &copy)
            }
            Use::Freeze => {
                let part = page.freeze().slice(1..);
                self.compare(at, &[&self.files[at.file].mirror.read(at.block)[..1], &part].concat())
            }
            Use::Hold { even_the_last } => {
                self.hold(at, page, even_the_last, Holding::Pin);
                Ok(())
            }
            Use::HoldFrozen => {
                self.hold(at, page, false, |page| Holding::Frozen(page.freeze()));
                Ok(())
            }
            Use::Write { from, sectors, by, then } => {
                let all = self.configuration.page_size as usize / SECTOR;
                let from = usize::from(from) % all;
                let to = all.min(from + usize::from(sectors));
                self.version += 1;
                let (at_file, version) = (at.file as u32, self.version);
                self.modify(at, &page, by, then, from * SECTOR..to * SECTOR, |bytes| {
                    stamp_sectors(bytes, at_file, at.block, from, version);
                })
            }
            Use::ReadModifyWrite { by, then } => {
                self.modify(at, &page, by, then, 0..self.configuration.page_size as usize, raise_versions)
            }
            Use::LookExclusively => match self.write_guard(at, &page, By::Thread)? {
                Some(guard) => self.compare(at, &guard),
                None => Ok(()),
            },
        }
    }

    fn hold(&mut self, at: At, page: PinnedPage, even_the_last: bool, how: impl Fn(PinnedPage) -> Holding) {
        let frames = self.held_frames() + usize::from(!self.is_held(at));
        if even_the_last || frames < self.configuration.frames as usize {
            self.held.push(Held { at, what: how(page) });
        }
    }

    /// Changes a part of the page and of its model by the same function, each from its own bytes.
    fn modify(
        &mut self,
        at: At,
        page: &PinnedPage,
        by: By,
        then: Then,
        part: std::ops::Range<usize>,
        change: impl Fn(&mut [u8]),
    ) -> Check {
        let Some(mut guard) = self.write_guard(at, page, by)? else {
            return Ok(());
        };
        change(&mut guard[part.clone()]);
        let file = &mut self.files[at.file];
        let mut modelled = file.mirror.read(at.block)[part.clone()].to_vec();
        change(&mut modelled);
        file.mirror.write(at.block, part.start, &modelled);
        file.changed.in_memory();
        match then {
            Then::Drop => Ok(()),
            Then::Downgrade => self.compare(at, &guard.downgrade()),
        }
    }

    /// Returns the guard, or `None` where the model says that there can be none now, and the pool says so too.
    fn write_guard<'p>(&self, at: At, page: &'p PinnedPage, by: By) -> Check<Option<PageWrite<'p>>> {
        let frozen = self.is_frozen(at);
        let guard = match by {
            _ if frozen => page.try_write(),
            By::Thread => page.write().map(Some),
            By::Task => pollster::block_on(page.write_async()).map(Some),
            By::Timeouts => page.try_write(),
        };
        match guard {
            Ok(guard) => {
                ensure!(!self.files[at.file].read_only, "a write guard on a file open for reading only");
                ensure!(!(frozen && guard.is_some()), "a write guard on a page whose bytes are lent out");
                // Write-out may hold a share latch for the moment of a copy.
                Ok(guard)
            }
            Err(Error::ReadOnly { .. }) if self.files[at.file].read_only => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Adds one to the version in every stamp.
fn raise_versions(page: &mut [u8]) {
    for word in page.chunks_exact_mut(4).skip(3).step_by(4) {
        let version = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        word.copy_from_slice(&version.wrapping_add(1).to_le_bytes());
    }
}
