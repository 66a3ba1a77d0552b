//! Steps that write pages, and those that change files as a whole.

use std::num::NonZeroU32;

use ringpool::{CheckpointOptions, Error, PageId, Shutdown, report::Evicted};

use crate::{
    case::{Case, Check, ensure, finish},
    operation::{At, By, Ending, MOST_BLOCKS},
    tested_file::Changed,
};

impl Case<'_> {
    pub(crate) fn flush(&mut self, at: At, by: By) -> Check {
        finish(self.pool().flush(self.page_id(at)), by).map_err(|error| text(&error))?;
        if self.exists(at) { self.files[at.file].must_be_on_disk(at.block) } else { Ok(()) }
    }

    pub(crate) fn flush_file(&mut self, file: usize, by: By) -> Check {
        let most = self.files[file].pages_that_may_be_dirty().len() as u64;
        let report =
            finish(self.pool().flush_file(self.files[file].id()), by).map_err(|error| text(&error))?;
        self.compare_dirty_count(report.pages_written, most)?;
        let file = &mut self.files[file];
        // Whatever was changed since the last sync has been written since.
        file.changed.written = file.changed.since_sync;
        file.changes_must_be_on_disk()
    }

    pub(crate) fn sync(&mut self, file: usize, by: By) -> Check {
        let syncs = self.pool().stats().counts.syncs;
        let synced =
            finish(self.pool().sync_file(self.files[file].id()), by).map_err(|error| text(&error))?;
        let changed = &mut self.files[file].changed;
        ensure!(synced || !changed.written, "not synced, though it was written");
        ensure!(!synced || changed.since_checkpoint, "synced, though nothing was changed");
        (changed.since_sync, changed.written) = (false, false);
        let did = self.pool().stats().counts.syncs - syncs;
        ensure!(did == u64::from(synced), "{did} syncs counted, {synced} returned");
        Ok(())
    }

    pub(crate) fn checkpoint(&mut self, by: By) -> Check {
        let most = self.pages_that_may_be_dirty();
        let report =
            finish(self.pool().checkpoint(CheckpointOptions::new()), by).map_err(|error| text(&error))?;
        self.compare_dirty_count(report.pages_written, most)?;
        self.check_synced(report.files_synced)?;
        self.files.iter_mut().try_for_each(|file| {
            file.changed = Changed::default();
            file.changes_must_be_on_disk()
        })
    }

    fn check_synced(&self, synced: u64) -> Check {
        let count =
            |must: fn(&Changed) -> bool| self.files.iter().filter(|file| must(&file.changed)).count() as u64;
        let (least, most) = (count(|changed| changed.since_sync), count(|changed| changed.since_checkpoint));
        ensure!(
            (least..=most).contains(&synced),
            "{synced} files synced, where {least} to {most} had changes"
        );
        Ok(())
    }

    pub(crate) fn evict(&mut self, at: At, by: By) -> Check {
        let evicted = finish(self.pool().evict(self.page_id(at)), by).map_err(|error| text(&error))?;
        ensure!((evicted == Evicted::Pinned) == self.is_held(at), "{evicted:?}, held: {}", self.is_held(at));
        if evicted == Evicted::Pinned {
            return Ok(());
        }
        ensure!(self.pool().fetch(self.page_id(at)).now().is_none(), "still in the pool after {evicted:?}");
        // What is not in the pool is on disk.
        if self.exists(at) { self.files[at.file].must_be_on_disk(at.block) } else { Ok(()) }
    }

    pub(crate) fn extend(&mut self, file: usize, blocks: u32, by: By) -> Check {
        let before = self.files[file].mirror.blocks();
        if before + blocks > MOST_BLOCKS {
            return Ok(());
        }
        let wanted = NonZeroU32::new(blocks).expect("drawn from one on");
        let extended = finish(self.pool().extend(self.files[file].id(), wanted), by);
        if self.files[file].read_only {
            return refused_as_read_only(&extended);
        }
        let extended = extended.map_err(|error| text(&error))?;
        ensure!(
            (extended.first.0, extended.blocks) == (before, blocks),
            "{extended:?} behind {before} blocks"
        );
        self.files[file].mirror.extend(blocks);
        self.files[file].changed = Changed::ON_DISK;
        self.check_blocks(file)
    }

    pub(crate) fn truncate(&mut self, file: usize, blocks: u32, by: By) -> Check {
        let cut = finish(self.pool().truncate(self.files[file].id(), blocks), by);
        if self.files[file].read_only {
            return refused_as_read_only(&cut);
        }
        let before = self.files[file].mirror.blocks();
        if self.held.iter().any(|held| held.at.file == file && held.at.block >= blocks) {
            self.refused_as_pinned(&cut)?;
        } else {
            cut.map_err(|error| text(&error))?;
            self.files[file].mirror.truncate(blocks);
            if blocks < before {
                self.files[file].changed = Changed::ON_DISK;
            }
        }
        self.check_blocks(file)
    }

    /// Closes the file, which leaves it open where a page is held, and opens it again.
    pub(crate) fn reopen(&mut self, file: usize, read_only: bool, by: By) -> Check {
        let old = self.files[file].id();
        let options = self.configuration.open_options();
        let twice = self.pool().open_file(&self.files[file].path, options);
        ensure!(
            matches!(twice, Err(Error::AlreadyOpen { file, .. }) if file == old),
            "opened twice: {twice:?}"
        );
        let closed = finish(self.pool().close_file(old), by);
        self.files[file].changed = Changed::default();
        if self.held.iter().any(|held| held.at.file == file) {
            self.refused_as_pinned(&closed)?;
            return self.files[file].changes_must_be_on_disk();
        }
        closed.map_err(|error| text(&error))?;
        self.files[file].all_must_be_on_disk()?;
        let stale = self.pool().fetch(PageId::new(old, 0)).wait();
        ensure!(matches!(stale, Err(Error::NotOpen { .. })), "after close: {stale:?}");
        let opened = self
            .pool()
            .open_file(&self.files[file].path, options.read_only(read_only))
            .map_err(|error| text(&error))?;
        ensure!(opened != old, "the id was given twice");
        (self.files[file].open_as, self.files[file].read_only) = (Some(opened), read_only);
        self.files[file].changed = if read_only { Changed::default() } else { Changed::JUST_OPENED };
        self.check_blocks(file)
    }

    /// Starts a new pool over the files.
    pub(crate) fn start(&mut self) -> Check {
        let pool = self.configuration.build().map_err(|error| text(&error))?;
        for file in &mut self.files {
            file.open_as = Some(
                pool.open_file(&file.path, self.configuration.open_options())
                    .map_err(|error| text(&error))?,
            );
            (file.read_only, file.changed) = (false, Changed::JUST_OPENED);
        }
        self.pool = Some(pool);
        (0..self.files.len()).try_for_each(|file| self.check_blocks(file))
    }

    /// Ends the pool, and compares the files with what it promised.
    pub(crate) fn stop(&mut self, ending: Ending) -> Check {
        if matches!(ending, Ending::Checkpoint) {
            self.checkpoint(By::Thread)?;
            self.check_stats_at_rest()?;
        }
        let most = self.pages_that_may_be_dirty();
        let pool = self.pool.take().expect("a script runs between start and stop");
        match ending {
            Ending::Flush => {
                let report = pool.shutdown(Shutdown::Flush).map_err(|error| error.to_string())?;
                self.compare_dirty_count(report.pages_written, most)?;
                self.check_synced(report.files_synced)?;
                ensure!(report.pages_discarded == 0, "{} pages discarded by a flush", report.pages_discarded);
            }
            Ending::Checkpoint | Ending::Discard => {
                let report = pool.shutdown(Shutdown::Discard).map_err(|error| error.to_string())?;
                self.compare_dirty_count(report.pages_discarded, most)?;
            }
            Ending::Drop => drop(pool),
        }
        // Pinned pages outlive their pool.
        for held in std::mem::take(&mut self.held) {
            self.compare_held(&held)?;
        }
        self.files.iter_mut().enumerate().try_for_each(|(no, file)| {
            let compared =
                if ending.keeps_changes() { file.all_must_be_on_disk() } else { file.fall_back_to_disk() };
            compared.map_err(|what| format!("file {no}, {what}"))
        })
    }

    fn check_blocks(&self, file: usize) -> Check {
        let (found, expected) = (self.pool().blocks(self.files[file].id()), self.files[file].mirror.blocks());
        ensure!(matches!(found, Ok(found) if found == expected), "{found:?} blocks, {expected} expected");
        Ok(())
    }

    fn refused_as_pinned(&self, result: &Result<(), Error>) -> Check {
        let Err(Error::Pinned { page, .. }) = result else {
            return Err(format!("{result:?} with a pin in the way"));
        };
        ensure!(
            self.held.iter().any(|held| self.page_id(held.at) == *page),
            "{page} is said to be pinned, and is not"
        );
        Ok(())
    }
}

fn refused_as_read_only<T: std::fmt::Debug>(result: &Result<T, Error>) -> Check {
    ensure!(matches!(result, Err(Error::ReadOnly { .. })), "{result:?} of a file open for reading only");
    Ok(())
}

fn text(error: &Error) -> String {
    error.to_string()
}
