//! The background work of a pool: the background writer, and the threads of its jobs.
//!
//! It ends with the last clone of the pool, or when the pool is shut down, and the thread that does that waits for it. What was
//! begun continues to its end, in haste, and nothing new is begun. So once the pool is gone none of it writes any more, and its
//! files may be opened again at once. How long that takes depends on the disk alone: none of it [waits for a
//! caller](crate::sync::pool_end).
//!
//! The pool's own threads call wakers, logs and codecs, and any of those may hold the last clone. Such a thread only begins the
//! end: what is under way ends by itself, and the last of it frees the pool's memory. Futures and streams of the pool that a caller
//! still holds are no part of this, and continue by themselves.

use crate::{
    runtime::shared::Shared,
    sync::{Arc, pool_end::EndStage, thread},
    write::background_writer::WriterThread,
};

pub(crate) struct Background {
    writer: WriterThread,
    pub(super) shared: Arc<Shared>,
}

impl Background {
    pub(crate) fn start(shared: Arc<Shared>) -> Self {
        Self { writer: WriterThread::start(&shared), shared }
    }

    /// Ends it, and returns when nothing is under way any more; on a thread of the pool it returns at once. Idempotent.
    pub(crate) fn end(&self) {
        let shared = &self.shared;
        shared.end.reach(EndStage::Ending);
        // Threads that pause see it now.
        shared.checkpoints.wake_the_pausing();
        shared.jobs.threads.wake_all();
        shared.pool.clean_list.look_again();
        let own = thread::current().id();
        // A thread that runs this work, or something that the work waits for, would wait for itself.
        if !(self.writer.is(own) || shared.jobs.threads.has(own) || shared.method.has(own)) {
            self.writer.wait_until_gone();
            shared.jobs.threads.wait_until_gone();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A forked process has none of these threads, and nothing to wait for.
        if self.shared.pool.process.is_current() {
            self.end();
        }
    }
}
