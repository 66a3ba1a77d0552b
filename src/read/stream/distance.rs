//! How far a read stream looks ahead: a pure rule, which is told events and returns decisions.
//!
//! There are two distances, as in PostgreSQL's `read_stream.c`, where one alone had failed in both directions:
//!
//! * **combine**: the most pages of a request. Any need to read doubles it, since a larger request costs next to nothing more.
//!   Several small requests that are made together cost next to nothing more either: a **batch** has as many pages as a request of
//!   ordinary size, if the stream's own requests are smaller.
//! * **ahead**: the most pages being read. It doubles only when the consumer had to *wait*. If reads keep up with the consumer,
//!   more pages in advance would only take frames, and be wasted if the consumer stops early.
//!
//! Both shrink by one for each page found resident, but only after as many of those in a row as could be looked ahead. So a stream
//! of hits with a miss now and then keeps its distances. A page that another caller is reading counts as one to be read: if it
//! counted as a hit, streams that follow one another would lose their distance.

/// The most pages that a waiting consumer lets arrive before it is woken.
const WAKE_SPAN: usize = 32;

/// The consumer waits for one in this many of the pages being read; the others keep the device busy meanwhile.
const WAKE_SHARE: usize = 4;

/// Pages are asked for when one in this many of those to be held is lacking.
const ASK_SHARE: usize = 8;

/// Pages are asked for when this many are lacking, at the latest.
const ASK_MOST: usize = 32;

/// The distances of one stream, in pages.
#[derive(Clone, Debug)]
pub(super) struct Distance {
    combine: usize,
    combine_limit: usize,
    batch: usize,
    batch_limit: usize,
    ahead: usize,
    /// The most that is ever held in advance.
    most: usize,
    /// The number of pages found resident in a row that leave the distances as they are.
    hits_to_spare: usize,
}

impl Distance {
    /// Makes the distances of a stream that has seen nothing yet, and asks for one page at a time. At its longest distance it has
    /// two requests under way, if it may hold two pages.
    pub(super) fn new(combine_limit: usize, most: usize) -> Self {
        let most = most.max(1);
        let combine_limit = combine_limit.clamp(1, most.div_ceil(2));
        let batch_limit = combine_limit;
        Self { combine: 1, combine_limit, batch: 1, batch_limit, ahead: 1, most, hits_to_spare: most }
    }

    /// Sets the pages in a batch, if that is more than in a request.
    pub(super) fn with_batch(self, pages: usize) -> Self {
        Self { batch_limit: pages.min(self.most.div_ceil(2)).max(self.combine_limit), ..self }
    }

    /// Begins with two full requests, for a stream of many pages: on a far storage each doubling takes a round trip.
    pub(super) fn for_many_pages(self) -> Self {
        let (combine, batch) = (self.combine_limit, self.batch_limit);
        Self { combine, batch, ahead: (2 * combine).min(self.most), ..self }
    }

    /// Notes that some of the pages just asked for must be read, or are being read by another caller.
    pub(super) fn note_read(&mut self) {
        self.combine = (2 * self.combine).min(self.combine_limit);
        self.batch = (2 * self.batch).min(self.batch_limit);
        self.hits_to_spare = self.most;
    }

    pub(super) fn note_wait(&mut self) {
        self.ahead = (2 * self.ahead).min(self.most);
    }

    /// Notes that a page just asked for was resident.
    pub(super) fn note_hit(&mut self) {
        if self.hits_to_spare > 0 {
            self.hits_to_spare -= 1;
            return;
        }
        self.combine = (self.combine - 1).max(1);
        self.batch = (self.batch - 1).max(self.combine);
        self.ahead = (self.ahead - 1).max(1);
    }

    /// Returns how many pages are to be held in advance: those of one batch, or, once a request makes the consumer wait, those of
    /// at least two requests.
    pub(super) fn target(&self) -> usize {
        let requests =
            if self.ahead <= self.combine { self.combine } else { self.ahead.max(2 * self.combine) };
        requests.max(self.batch).min(self.most)
    }

    /// Returns how many pages to ask for now, while `held` are held in advance. 0 until there are enough for a full request, and
    /// for a batch, or an eighth of those to be held: so requests are as large as possible, and small ones are handed over many at
    /// a time.
    pub(super) fn to_ask(&self, held: usize) -> usize {
        let target = self.target();
        let together = if target > self.batch { (target / ASK_SHARE).min(ASK_MOST) } else { self.batch };
        match target.saturating_sub(held) {
            lacking if lacking < together.max(self.combine) => 0,
            lacking => lacking - lacking % self.combine,
        }
    }

    /// Returns for which of the pages held in advance a consumer without a page should wait: the first counts as 0.
    ///
    /// Every wake-up costs the consumer two context switches, and pages that were asked for together arrive together. So it lets
    /// some more arrive than the one that it needs, but never so many that the device runs out of requests, or that it waits for
    /// more than a small part of what is under way.
    pub(super) fn wait_for(&self, held: usize) -> usize {
        (held / WAKE_SHARE).min(WAKE_SPAN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 16;
    const MOST: usize = 256;

    fn fresh() -> Distance {
        Distance::new(LIMIT, MOST)
    }

    /// Returns the distances after many misses for which the consumer waited.
    fn grown() -> Distance {
        let mut distance = fresh();
        for _ in 0..10 {
            distance.note_read();
            distance.note_wait();
        }
        assert_eq!((distance.combine, distance.ahead), (LIMIT, MOST));
        distance
    }

    #[test]
    fn a_stream_of_many_pages_begins_with_full_requests_and_shrinks_over_hits() {
        for most in [1, 2, LIMIT, MOST] {
            let mut distance = Distance::new(LIMIT, most).for_many_pages();
            assert_eq!((distance.target(), distance.to_ask(0)), (most.min(2 * LIMIT), most.min(2 * LIMIT)));
            (0..most + 2 * LIMIT).for_each(|_| distance.note_hit());
            assert_eq!(distance.target(), 1);
        }
    }

    #[test]
    fn a_stream_of_hits_asks_for_one_page_at_a_time() {
        let mut distance = fresh();
        for _ in 0..10 * MOST {
            assert_eq!((distance.target(), distance.to_ask(0)), (1, 1));
            distance.note_hit();
        }
    }

    #[test]
    fn a_miss_between_hits_still_grows() {
        let mut distance = fresh();
        for _ in 0..10 {
            distance.note_read();
            distance.note_wait();
            distance.note_hit();
        }
        assert_eq!((distance.combine, distance.ahead), (LIMIT, MOST));
    }

    #[test]
    fn reads_that_keep_up_are_combined_but_not_asked_for_earlier() {
        let mut distance = fresh();
        (0..100).for_each(|_| distance.note_read());
        assert_eq!((distance.combine, distance.ahead), (LIMIT, 1));
        assert_eq!(distance.target(), LIMIT);
    }

    #[test]
    fn pages_that_others_are_reading_do_not_shrink_it() {
        // As in a stream that follows another one: all its pages are being read, and it waits for some of them.
        let mut distance = grown();
        for _ in 0..10 * MOST {
            distance.note_read();
        }
        assert_eq!(distance.target(), MOST);
    }

    #[test]
    fn hits_shrink_it_slowly_and_a_read_holds_it() {
        let mut distance = grown();
        (0..MOST).for_each(|_| distance.note_hit());
        assert_eq!(distance.target(), MOST, "as many as could be ahead are spared");
        distance.note_hit();
        assert_eq!(distance.target(), MOST - 1);
        distance.note_read();
        (0..MOST).for_each(|_| distance.note_hit());
        assert_eq!(distance.target(), MOST - 1, "a read spares as many again");
        (0..2 * MOST).for_each(|_| distance.note_hit());
        assert_eq!(distance.target(), 1);
    }

    #[test]
    fn pages_are_asked_for_in_full_requests() {
        let distance = grown();
        assert_eq!(distance.to_ask(MOST), 0);
        assert_eq!(distance.to_ask(MOST - 2 * LIMIT + 1), 0, "no full batch yet");
        assert_eq!(distance.to_ask(MOST - 2 * LIMIT), 2 * LIMIT);
        assert_eq!(distance.to_ask(MOST - 3 * LIMIT + 1), 2 * LIMIT, "no part of one either");
        assert_eq!(distance.to_ask(0), MOST);
    }

    #[test]
    fn where_reads_keep_up_small_requests_are_asked_for_together() {
        let mut distance = Distance::new(1, MOST).with_batch(LIMIT);
        let mut asked = Vec::new();
        for _ in 0..6 {
            asked.push(distance.to_ask(0));
            distance.note_read();
        }
        assert_eq!(asked, [1, 2, 4, 8, 16, 16]);
        assert_eq!((distance.to_ask(1), distance.combine), (0, 1));
        (0..2 * MOST).for_each(|_| distance.note_hit());
        assert_eq!(distance.target(), 1);
    }

    #[test]
    fn single_pages_are_asked_for_in_batches() {
        for (most, batch) in [(8, 1), (64, 8), (256, 32), (1024, 32)] {
            let mut distance = Distance::new(1, most);
            (0..12).for_each(|_| distance.note_wait());
            assert_eq!((distance.to_ask(most - batch + 1), distance.to_ask(most - batch)), (0, batch));
            assert_eq!(distance.to_ask(most - 3 * batch), 3 * batch);
        }
    }

    #[test]
    fn where_reads_keep_up_each_is_asked_for_in_full_when_the_last_is_used_up() {
        let mut distance = fresh();
        (0..5).for_each(|_| distance.note_read());
        assert_eq!((distance.to_ask(16), distance.to_ask(1), distance.to_ask(0)), (0, 0, 16));
    }

    #[test]
    fn a_stream_that_has_to_wait_asks_before_it_runs_dry_however_little_there_may_be() {
        for most in 2..200 {
            let mut distance = Distance::new(LIMIT, most);
            (0..10).for_each(|_| distance.note_read());
            (0..10).for_each(|_| distance.note_wait());
            assert!(distance.to_ask(most / 2) > 0 && distance.to_ask(most) == 0, "at most {most}");
        }
    }

    #[test]
    fn a_stream_that_has_to_wait_has_two_requests_ahead_whatever_their_size() {
        let mut distance = Distance::new(3, MOST);
        (0..2).for_each(|_| distance.note_read());
        (0..2).for_each(|_| distance.note_wait());
        assert_eq!((distance.combine, distance.ahead, distance.target()), (3, 4, 6));
    }

    #[test]
    fn a_stream_that_waits_leaves_the_device_most_of_its_work() {
        let distance = grown();
        let waits: Vec<_> = [1, 3, 4, 64, 128, 4096].map(|held| distance.wait_for(held)).into();
        assert_eq!(waits, [0, 0, 1, 16, 32, 32]);
    }

    proptest! {
        #[test]
        fn whatever_happens_it_asks_for_something_and_never_too_much(
            limit in 0_usize..300,
            batch in 0_usize..300,
            most in 0_usize..300,
            events in prop::collection::vec(0_u8..3, 0..200),
            held in 0_usize..400,
        ) {
            let mut distance = Distance::new(limit, most).with_batch(batch);
            for event in events {
                match event {
                    0 => distance.note_read(),
                    1 => distance.note_wait(),
                    _ => distance.note_hit(),
                }
                prop_assert!(distance.to_ask(0) >= 1, "a stream with nothing in hand goes on");
                prop_assert!(distance.target() <= most.max(1));
                prop_assert!(held + distance.to_ask(held) <= most.max(1).max(held));
                prop_assert!(distance.combine <= limit.max(1));
            }
        }
    }
}
