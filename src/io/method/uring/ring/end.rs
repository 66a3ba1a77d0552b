//! How a ring ends: in time, or because the system refuses its calls.
//!
//! What the kernel has not taken is [taken back](Ring::take_back), what it has taken is [waited for](Ring::drain), as long as that works,
//! and the caller gets the [rest](Ring::into_rest) and must keep it until the kernel is done with it (C5).

use super::{Ring, WakeEvent};
use crate::{
    io::operation::{Lease, Operation},
    sync::Arc,
};

impl<L: Lease> Ring<'_, L> {
    /// Closes the ring for submissions. Returns the requests that the kernel has not taken: it looks for submissions only in
    /// calls that have some to submit, and there are none from here on.
    pub(in crate::io::method::uring) fn take_back(&mut self) -> Vec<Operation<L>> {
        self.is_closed = true;
        self.submissions.sync();
        let (pushed, untaken) = (self.pushed, self.submissions.len() as u32);
        let is_untaken = |number| is_of_the_last(untaken, pushed, number);
        self.posted = self.posted.filter(|&number| !is_untaken(number));
        self.take(is_untaken)
    }

    /// Takes out the operations whose last submissions have such a number.
    fn take(&mut self, which: impl Fn(u32) -> bool) -> Vec<Operation<L>> {
        let meant = self.flying.iter().filter(|(_, operation)| which(operation.submission));
        let keys: Vec<_> = meant.map(|(key, _)| key).collect();
        keys.into_iter().map(|key| self.flying.remove(key)).collect()
    }

    /// Waits until the kernel is done with all that it has taken, as long as it can be asked; `elsewhere` gets what is to be done
    /// by plain calls.
    pub(in crate::io::method::uring) fn drain(&mut self, mut elsewhere: impl FnMut(&mut Vec<Operation<L>>)) {
        if self.posted.is_some() {
            self.wake_event.signal_anyway();
        }
        loop {
            self.completions.sync();
            self.reap();
            self.finish();
            elsewhere(&mut self.elsewhere);
            if self.posted.is_none() && self.in_flight() == 0 {
                return;
            }
            let waited = self.look(1);
            if self.bear(waited).is_err() {
                return;
            }
        }
    }

    /// Lets go of the memory. Returns what the kernel still has of a ring that cannot be entered any more: operations whose results will not
    /// be known, and the wake event, if its read is posted, to whose word the kernel writes.
    pub(in crate::io::method::uring) fn into_rest(mut self) -> (Vec<Operation<L>>, Option<Arc<WakeEvent>>) {
        if self.in_flight() == 0 && self.forms.fixed_buffers {
            // The kernel closes a ring down asynchronously, and what was registered counts as locked until then.
            let _ = self.submitter.unregister_buffers();
        }
        let wake_event = self.posted.take().map(|_| Arc::clone(&self.wake_event));
        (self.take(|_| true), wake_event)
    }
}

/// Keeps for ever what the kernel may still have.
impl<L: Lease> Drop for Ring<'_, L> {
    fn drop(&mut self) {
        if self.posted.is_some() {
            std::mem::forget(Arc::clone(&self.wake_event));
        }
        if self.in_flight() > 0 {
            std::mem::forget(std::mem::take(&mut self.flying));
            std::mem::forget(std::mem::take(&mut self.iovecs));
        }
    }
}

/// Returns whether the submission of this number is one of the `last` submissions of the `pushed` ones so far. Numbers wrap
/// around, and a submission that hangs may be older by any number of them.
fn is_of_the_last(last: u32, pushed: u32, number: u32) -> bool {
    pushed.wrapping_sub(number).wrapping_sub(1) < last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_has_not_taken_is_told_from_what_hangs_since_long_ago() {
        for pushed in [7, 1, 0, u32::MAX] {
            let of_the_last_three = |before: u32| is_of_the_last(3, pushed, pushed.wrapping_sub(before));
            assert_eq!([1, 2, 3].map(of_the_last_three), [true; 3], "{pushed}");
            let older = [4, 5, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, (1 << 31) + 9, u32::MAX];
            assert_eq!(older.map(of_the_last_three), [false; 7], "{pushed}");
            assert!(!is_of_the_last(0, pushed, pushed.wrapping_sub(1)), "all were taken");
        }
    }
}
