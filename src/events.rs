//! What an operator should know: spans and events through `tracing` if that feature is on, else nothing.
//!
//! All of them are defined here, once. `events.md`, a part of the crate's documentation, lists them; a test keeps the two equal.
//!
//! A subscriber is code of the engine's, and is called wherever something happens, also with a latch or a turn held: its panic ends here.

use std::{fmt::Display, path::Path, time::Duration};

#[cfg(feature = "tracing")]
use crate::sync::callback;
use crate::{
    error::{Error, IoOp},
    id::{FileId, Lsn, PageId},
};

macro_rules! events {
    ($(
        $(#[doc = $doc:literal])*
        $level:ident $name:ident($($field:ident: $type:ty = $value:expr),* $(,)?) $text:literal;
    )*) => {
        $(
            $(#[doc = $doc])*
            #[cfg_attr(not(feature = "tracing"), allow(unused_variables))]
            // Some are used by a ring alone.
            #[cfg_attr(not(all(feature = "uring", target_os = "linux", not(any(loom, shuttle)))), allow(dead_code))]
            pub(crate) fn $name($($field: $type),*) {
                #[cfg(feature = "tracing")]
                let _ = callback::contained(|| {
                    tracing::event!(
                        name: concat!("ringpool::", stringify!($name)),
                        target: "ringpool",
                        tracing::Level::$level,
                        $($field = $value,)*
                        $text
                    );
                });
            }
        )*

        /// Level, name, fields and text of each event.
        #[cfg(test)]
        const EVENTS: &[(&str, &str, &[&str], &str)] =
            &[$((stringify!($level), stringify!($name), &[$(stringify!($field)),*], $text),)*];
    };
}

events! {
    /// The pool was built.
    INFO pool_opened(
        pool: &str = pool,
        frames: u32 = frames,
        page_size: u32 = page_size,
        method: &dyn Display = display(method),
        fixed_buffers: &dyn Display = display(fixed_buffers),
        fixed_files: &dyn Display = display(fixed_files),
    ) "pool opened";

    /// A better method than this one could not be opened.
    WARN method_fell_back(pool: &str = pool, method: &dyn Display = display(method), reason: &str = reason)
        "a better I/O method cannot be used";

    /// The system refuses to register something with the ring.
    WARN not_registered(pool: &str = pool, what: &str = what, reason: &str = reason)
        "not registered with the ring: each transfer takes more CPU";

    /// A ring cannot be used any more: threads do its work.
    WARN ring_lost(pool: &str = pool, reason: &str = reason)
        "a ring of io_uring was given up: what it did is done by worker threads";

    /// There is no thread for requests, so the threads that ask make them.
    WARN no_io_thread(pool: &str = pool, reason: &str = reason)
        "no thread for I/O can be started: the threads that ask do it themselves";

    /// A file was opened.
    DEBUG file_opened(
        pool: &str = pool,
        file: FileId = file.get(),
        path: &Path = display(path.display()),
        blocks: u32 = blocks,
        read_only: bool = read_only,
        direct: bool = direct,
    ) "file opened";

    /// A file does without an option that was preferred.
    WARN file_fell_back(
        pool: &str = pool,
        file: FileId = file.get(),
        path: &Path = display(path.display()),
        without: &str = without,
        reason: &str = reason,
    ) "a file does without what was preferred";

    /// A file was closed.
    DEBUG file_closed(pool: &str = pool, file: FileId = file.get(), path: &Path = display(path.display())) "file closed";

    /// A file was removed.
    DEBUG file_removed(pool: &str = pool, file: FileId = file.get(), path: &Path = display(path.display())) "file removed";

    /// A read, a write or a sync took longer than the pool's threshold.
    WARN slow_io(
        pool: &str = pool,
        op: IoOp = display(op),
        file: FileId = file.get(),
        path: &Path = display(path.display()),
        block: Option<u32> = block,
        pages: Option<u64> = pages,
        took_seconds: f64 = took_seconds,
    ) "slow I/O";

    /// The codec refused a page that was read.
    ERROR corrupt_page(
        pool: &str = pool,
        file: FileId = file.get(),
        path: &Path = display(path.display()),
        block: u32 = block,
        reason: &str = reason,
    ) "the codec refused a page: it is torn, flipped or misplaced";

    /// A call fails since no frame came free.
    WARN no_frame(pool: &str = pool, error: &Error = display(error)) "no frame came free";

    /// The background writer could not write a page, and pauses.
    WARN cleaning_failed(pool: &str = pool, error: &Error = display(error))
        "the background writer could not write dirty pages and will try again";

    /// A checkpoint ended.
    INFO checkpoint_done(
        pool: &str = pool,
        pages_written: u64 = pages_written,
        files_synced: u64 = files_synced,
        redo_lsn: Option<Lsn> = redo_lsn.map(|lsn| lsn.0),
        took_seconds: f64 = took_seconds,
    ) "checkpoint done";

    /// A checkpoint could not write or sync everything.
    ERROR checkpoint_failed(pool: &str = pool, error: &Error = display(error), took_seconds: f64 = took_seconds)
        "checkpoint failed";

    /// A sync failed, and the file cannot be trusted any more.
    ERROR sync_failed(
        pool: &str = pool,
        file: FileId = file.get(),
        path: &Path = display(path.display()),
        error: &Error = display(error),
    ) "a sync failed: what was written may be lost, and every sync of the file fails until it is opened anew";

    /// The pool has another number of frames.
    INFO resized(
        pool: &str = pool,
        frames_before: u32 = frames_before,
        frames: u32 = frames,
        pages_written: u64 = pages_written,
        took_seconds: f64 = took_seconds,
    ) "pool resized";

    /// The pool keeps the number of frames that it has.
    WARN resize_failed(pool: &str = pool, frames: u32 = frames, error: &Error = display(error)) "resize failed";

    /// A page was changed without a log position for the first time, in a pool with a log.
    WARN unlogged_change(pool: &str = pool, page: PageId = display(page))
        "a page was changed without set_lsn in a pool with a log; further ones are only counted";

    /// Writes that had failed were repeated from their copies, and failed again: the area keeps these copies, and soon has no room
    /// for others.
    ERROR copies_needed(pool: &str = pool, path: &Path = display(path.display()), error: &Error = display(error))
        "pages that cannot be written keep their copies in the doublewrite area";

    /// A file had copies of pages in the doublewrite area, and this number of its pages differed from their copies.
    WARN pages_restored(pool: &str = pool, path: &Path = display(path.display()), pages: u64 = pages)
        "pages were restored after a crash";

    /// A waker of a task panicked. The pool continues; the task may wait for ever.
    ERROR waker_panicked() "a task's waker panicked: has its executor gone?";

    /// A shutdown ended.
    INFO pool_shut_down(
        pool: &str = pool,
        pages_written: u64 = pages_written,
        files_synced: u64 = files_synced,
        pages_discarded: u64 = pages_discarded,
        took_seconds: f64 = took_seconds,
    ) "pool shut down";

    /// A shutdown could not write or sync everything.
    ERROR shutdown_failed(pool: &str = pool, error: &Error = display(error)) "shutdown failed";

    /// Dirty pages were thrown away.
    WARN pages_discarded(pool: &str = pool, pages: u64 = pages)
        "dirty pages were thrown away: the pool was dropped without shutdown(Shutdown::Flush)";
}

/// Spans: each lasts as long as the value that its function returns.
pub(crate) mod spans {
    use std::{path::Path, time::Duration};

    #[cfg(feature = "tracing")]
    use crate::sync::callback;

    /// A span that the thread is in until this is dropped.
    #[must_use]
    pub(crate) struct EnteredSpan {
        /// None, where the subscriber panicked.
        #[cfg(feature = "tracing")]
        entered: Option<tracing::span::EnteredSpan>,
    }

    #[cfg(feature = "tracing")]
    impl EnteredSpan {
        pub(super) fn enter(span: impl FnOnce() -> tracing::Span) -> Self {
            Self { entered: callback::contained(|| span().entered()).ok() }
        }
    }

    #[cfg(feature = "tracing")]
    impl Drop for EnteredSpan {
        fn drop(&mut self) {
            let _ = callback::contained(|| drop(self.entered.take()));
        }
    }

    macro_rules! spans {
        ($(
            $(#[doc = $doc:literal])*
            $level:ident $name:ident($($field:ident: $type:ty = $value:expr),* $(,)?);
        )*) => {
            $(
                $(#[doc = $doc])*
                #[cfg_attr(not(feature = "tracing"), allow(unused_variables))]
                pub(crate) fn $name($($field: $type),*) -> EnteredSpan {
                    #[cfg(not(feature = "tracing"))]
                    return EnteredSpan {};
                    #[cfg(feature = "tracing")]
                    EnteredSpan::enter(|| {
                        tracing::span!(
                            target: "ringpool",
                            tracing::Level::$level,
                            concat!("ringpool::", stringify!($name)),
                            $($field = $value),*
                        )
                    })
                }
            )*

            /// Level, name and fields of each span.
            #[cfg(test)]
            pub(super) const SPANS: &[(&str, &str, &[&str])] =
                &[$((stringify!($level), stringify!($name), &[$(stringify!($field)),*]),)*];
        };
    }

    spans! {
        /// Opening a file.
        INFO open_file(pool: &str = pool, path: &Path = display(path.display()));

        /// A checkpoint, including the wait for its turn.
        INFO checkpoint(
            pool: &str = pool,
            spread_over_seconds: Option<Duration> = spread_over_seconds.map(|over| over.as_secs_f64()),
        );

        /// A change of the number of frames, including the wait for its turn.
        INFO resize(pool: &str = pool, frames: u32 = frames);

        /// A shutdown.
        INFO shutdown(pool: &str = pool, flush: bool = flush);
    }
}

/// The span in which an operation was asked for, which another thread may carry out.
pub(crate) struct AskingSpan {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl AskingSpan {
    /// Returns the span of the calling thread.
    pub(crate) fn current() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: callback::contained(tracing::Span::current).unwrap_or_else(|_| tracing::Span::none()),
        }
    }

    /// Returns none: for a process that must not call the subscriber.
    pub(crate) fn none() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: tracing::Span::none(),
        }
    }

    /// Does the work in this span.
    pub(crate) fn run<R>(self, work: impl FnOnce() -> R) -> R {
        #[cfg(feature = "tracing")]
        let _entered = spans::EnteredSpan::enter(|| self.span);
        work()
    }
}

/// Returns a duration in seconds, as events report it.
pub(crate) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns level, name, fields and text of each row of the documentation.
    fn rows() -> Vec<(String, String, String, String)> {
        let rows = include_str!("events.md").lines().filter_map(|line| {
            let cells: Vec<_> = line.strip_prefix("| `")?.split(" | ").map(str::trim).collect();
            let [name, level, fields, text] = cells[..] else { panic!("not four cells: {line}") };
            let text = text.trim_end_matches('|').trim();
            Some((
                level.to_owned(),
                name.trim_matches('`').to_owned(),
                fields.replace('`', ""),
                text.to_owned(),
            ))
        });
        rows.collect()
    }

    #[test]
    fn the_documentation_lists_every_span_and_event_with_its_level_and_fields_and_no_other() {
        let spans = spans::SPANS
            .iter()
            .map(|&(level, name, fields)| (level.to_owned(), format!("ringpool::{name}"), fields.join(", ")));
        let events = EVENTS.iter().map(|&(level, name, fields, _)| {
            (level.to_owned(), format!("ringpool::{name}"), fields.join(", "))
        });
        let told: Vec<_> = rows().into_iter().map(|(level, name, fields, _)| (level, name, fields)).collect();
        assert_eq!(told, spans.chain(events).collect::<Vec<_>>());
    }

    #[test]
    fn each_row_of_the_documentation_says_what_it_means() {
        assert!(rows().iter().all(|(.., text)| text.len() > 10), "{:?}", rows());
        assert!(EVENTS.iter().all(|(.., text)| !text.is_empty() && !text.ends_with('.')));
    }
}
