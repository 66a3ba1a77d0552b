//! What works for a pool behind the scenes: the background writer, and the threads of its jobs.
//!
//! It ends with the last clone of the pool, or when the pool is shut down, and who does that waits for it: what was begun goes on to
//! its end, in haste, and nothing new is begun. So once the pool is gone nothing of it writes any more, and its files may be opened
//! anew at once. How long that takes is up to the disk alone, as with the requests in flight, since from then on nothing here
//! [waits for a caller](crate::sync::pool_end).
//!
//! The pool's own threads call wakers, logs and codecs, and any of those may hold the last clone. Such a thread would wait for
//! itself, so it only begins the end: what is under way ends by itself, and the last of it takes the pool's memory along.
//!
//! What a user still has of the pool (futures, streams) is no part of this and goes on by itself.

use crate::{
    runtime::shared::Shared,
    sync::{Arc, pool_end::EndStage, thread},
    write::background_writer::WriterThread,
};

pub(crate) struct Background {
    writer: WriterThread,
    shared: Arc<Shared>,
}

impl Background {
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        Self { writer: WriterThread::start(shared), shared: Arc::clone(shared) }
    }

    /// Ends it, and is back when nothing is under way any more, except on a thread of the pool. Idempotent.
    pub(crate) fn end(&self) {
        let shared = &self.shared;
        shared.end.reach(EndStage::Ending);
        // What sleeps sees it now.
        shared.checkpoints.wake_the_pausing();
        shared.jobs.threads.wake_all();
        shared.pool.clean_list.look_again();
        if !self.is_run_by(thread::current().id()) {
            self.writer.wait_until_gone();
            shared.jobs.threads.wait_until_gone();
        }
    }

    /// Whether what goes on here, or what it waits for, is up to this thread.
    fn is_run_by(&self, thread: thread::ThreadId) -> bool {
        self.writer.is(thread) || self.shared.jobs.threads.has(thread) || self.shared.method.has(thread)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A process that was forked has none of these threads, and nothing to wait for.
        if self.shared.pool.process.is_current() {
            self.end();
        }
    }
}
