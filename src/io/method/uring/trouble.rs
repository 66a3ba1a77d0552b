//! What a failed system call of a ring means. Pure: no call, no clock.
//!
//! A signal is no failure: the call is made again, and nothing is counted. Lack of memory, or of room in the completion queue,
//! passes: the call is made again after a pause, for as long as the bound in time allows. Everything else says that the call is
//! refused for good.

use std::io;

use rustix::io::Errno;

use crate::sync::time::{Duration, Instant};

/// The pause after the first failure in a row; each further one is twice as long, up to the longest.
const FIRST_REST: Duration = Duration::from_micros(50);
const LONGEST_REST: Duration = Duration::from_millis(2);

/// Calls that fail in a row.
#[derive(Debug)]
pub(super) struct Trouble {
    /// How long they may.
    patience: Duration,
    /// When the first failed, and the next pause.
    row: Option<(Instant, Duration)>,
}

impl Trouble {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, row: None }
    }

    /// Notes that a call has succeeded.
    pub(super) fn end(&mut self) {
        self.row = None;
    }

    /// Returns after which pause the failed call is to be made again; `None` to give it up.
    pub(super) fn pause_after(&mut self, error: &io::Error, now: Instant) -> Option<Duration> {
        match Errno::from_io_error(error) {
            Some(Errno::INTR) if !seeded!("signal_counts_as_failure") => Some(Duration::ZERO),
            Some(Errno::AGAIN | Errno::BUSY | Errno::NOMEM) => {
                let (since, rest) = self.row.unwrap_or((now, FIRST_REST));
                if now.saturating_duration_since(since) >= self.patience {
                    return None;
                }
                self.row = Some((since, (2 * rest).min(LONGEST_REST)));
                Some(rest)
            }
            _ => None,
        }
    }
}

/// Returns whether a completion's error says nothing about the file: the kernel had no memory or no thread for the request, or a
/// signal came. The same transfer may succeed as a plain call.
pub(super) fn says_nothing_of_the_file(error: &io::Error) -> bool {
    let passing = [Errno::CANCELED, Errno::AGAIN, Errno::NOMEM, Errno::INTR];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
        && !seeded!("cancelled_request_fails")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::time;

    fn error(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn signals_are_no_failures_however_many() {
        let mut trouble = Trouble::new(Duration::ZERO);
        for _ in 0..10_000 {
            assert_eq!(trouble.pause_after(&error(Errno::INTR), time::now()), Some(Duration::ZERO));
        }
    }

    #[test]
    fn what_passes_is_borne_for_a_time_and_not_for_a_number_of_tries() {
        let start = time::now();
        for errno in [Errno::AGAIN, Errno::BUSY, Errno::NOMEM] {
            let mut trouble = Trouble::new(Duration::from_secs(5));
            let (mut at, mut tries) = (start, 0);
            while let Some(rest) = trouble.pause_after(&error(errno), at) {
                assert!((FIRST_REST..=LONGEST_REST).contains(&rest));
                (at, tries) = (at + rest, tries + 1);
            }
            let took = at - start;
            assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(6), "{took:?}");
            assert!(tries > 1_000, "{tries} tries");
            trouble.end();
            assert_eq!(trouble.pause_after(&error(errno), at), Some(FIRST_REST));
        }
    }

    #[test]
    fn what_is_forbidden_is_given_up_at_once() {
        for errno in [Errno::PERM, Errno::NOSYS, Errno::BADF, Errno::INVAL, Errno::IO] {
            let mut trouble = Trouble::new(Duration::from_secs(5));
            assert_eq!(trouble.pause_after(&error(errno), time::now()), None, "{errno:?}");
        }
    }

    #[test]
    fn only_what_the_file_itself_says_is_final() {
        for errno in [Errno::CANCELED, Errno::AGAIN, Errno::NOMEM, Errno::INTR] {
            assert!(says_nothing_of_the_file(&error(errno)), "{errno:?}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::BADF, Errno::FAULT, Errno::PERM] {
            assert!(!says_nothing_of_the_file(&error(errno)), "{errno:?}");
        }
        assert!(!says_nothing_of_the_file(&io::ErrorKind::UnexpectedEof.into()));
    }
}
