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
        $level:ident $name:ident($($field:ident: $type:ty $(= $value:expr)?),* $(,)?) $text:literal;
    )*) => {
        $(
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
                        $($field $(= $value)?,)*
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
    INFO pool_opened(
        pool: &str,
        frames: u32,
        page_size: u32,
        method: &dyn Display = display(method),
        fixed_buffers: &dyn Display = display(fixed_buffers),
        fixed_files: &dyn Display = display(fixed_files),
    ) "pool opened";
    WARN method_fell_back(pool: &str, method: &dyn Display = display(method), reason: &str)
        "a better I/O method cannot be used";
    WARN not_registered(pool: &str, what: &str, reason: &str)
        "not registered with the ring: each transfer takes more CPU";
    WARN ring_lost(pool: &str, reason: &str)
        "a ring of io_uring was given up: what it did is done by worker threads";
    WARN no_io_thread(pool: &str, reason: &str)
        "no thread for I/O can be started: the threads that ask do it themselves";
    DEBUG file_opened(
        pool: &str,
        file: FileId = file.get(),
        path: &Path = display(path.display()),
        blocks: u32,
        read_only: bool,
        direct: bool,
    ) "file opened";
    WARN file_fell_back(
        pool: &str,
        file: FileId = file.get(),
        path: &Path = display(path.display()),
        without: &str,
        reason: &str,
    ) "a file does without what was preferred";
    DEBUG file_closed(pool: &str, file: FileId = file.get(), path: &Path = display(path.display()))
        "file closed";
    DEBUG file_removed(pool: &str, file: FileId = file.get(), path: &Path = display(path.display()))
        "file removed";
    WARN slow_io(
        pool: &str,
        op: IoOp = display(op),
        file: FileId = file.get(),
        path: &Path = display(path.display()),
        block: Option<u32>,
        pages: Option<u64>,
        took_seconds: Duration = took_seconds.as_secs_f64(),
    ) "slow I/O";
    ERROR corrupt_page(
        pool: &str,
        file: FileId = file.get(),
        path: &Path = display(path.display()),
        block: u32,
        reason: &str,
    ) "the codec refused a page: it is torn, flipped or misplaced";
    WARN no_frame(pool: &str, error: &Error = display(error)) "no frame came free";
    WARN cleaning_failed(pool: &str, error: &Error = display(error))
        "the background writer could not write dirty pages and will try again";
    INFO checkpoint_done(
        pool: &str,
        pages_written: u64,
        files_synced: u64,
        redo_lsn: Option<Lsn> = redo_lsn.map(|lsn| lsn.0),
        took_seconds: Duration = took_seconds.as_secs_f64(),
    ) "checkpoint done";
    ERROR checkpoint_failed(pool: &str, error: &Error = display(error), took_seconds: Duration = took_seconds.as_secs_f64())
        "checkpoint failed";
    ERROR sync_failed(
        pool: &str,
        file: FileId = file.get(),
        path: &Path = display(path.display()),
        error: &Error = display(error),
    ) "a sync failed: what was written may be lost, and every sync of the file fails until it is opened anew";
    INFO resized(
        pool: &str,
        frames_before: u32,
        frames: u32,
        pages_written: u64,
        took_seconds: Duration = took_seconds.as_secs_f64(),
    ) "pool resized";
    WARN resize_failed(pool: &str, frames: u32, error: &Error = display(error)) "resize failed";
    WARN unlogged_change(pool: &str, page: PageId = display(page))
        "a page was changed without set_lsn in a pool with a log; further ones are only counted";
    ERROR copies_needed(pool: &str, path: &Path = display(path.display()), error: &Error = display(error))
        "pages that cannot be written keep their copies in the doublewrite area";
    WARN pages_restored(pool: &str, path: &Path = display(path.display()), pages: u64)
        "pages were restored after a crash";
    ERROR waker_panicked() "a task's waker panicked: has its executor gone?";
    INFO pool_shut_down(
        pool: &str,
        pages_written: u64,
        files_synced: u64,
        pages_discarded: u64,
        took_seconds: Duration = took_seconds.as_secs_f64(),
    ) "pool shut down";
    ERROR shutdown_failed(pool: &str, error: &Error = display(error)) "shutdown failed";
    WARN pages_discarded(pool: &str, pages: u64)
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
            $level:ident $name:ident($($field:ident: $type:ty $(= $value:expr)?),* $(,)?);
        )*) => {
            $(
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
                            $($field $(= $value)?),*
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
        INFO open_file(pool: &str, path: &Path = display(path.display()));
        // Including the wait for its turn, as for a resize.
        INFO checkpoint(
            pool: &str,
            spread_over_seconds: Option<Duration> = spread_over_seconds.map(|over| over.as_secs_f64()),
        );
        INFO resize(pool: &str, frames: u32);
        INFO shutdown(pool: &str, flush: bool);
    }
}

/// The span in which an operation was asked for, which another thread may carry out.
pub(crate) struct AskingSpan {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl AskingSpan {
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

    pub(crate) fn run<R>(self, work: impl FnOnce() -> R) -> R {
        #[cfg(feature = "tracing")]
        let _entered = spans::EnteredSpan::enter(|| self.span);
        work()
    }
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
