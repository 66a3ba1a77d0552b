//! Changes of the table: insertion, removal and growth, under the lock of a partition.

use std::{array::from_fn, ptr};

use super::{
    BLOCKS, Bucket, Cluster, GROWING, PLACES, PageTable, Sought, Translation, block_of, key_of, mapped_in,
};
use crate::{
    id::{FrameNo, PageId},
    sync::{
        MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
};

#[derive(Debug)]
pub(crate) struct Full;

/// A locked partition, seen from one page.
pub(crate) struct Partition<'a> {
    table: &'a PageTable,
    sought: Sought,
    /// Where the page's cluster is, if it is in the table.
    cluster: Option<ClusterPlace<'a>>,
    /// How many places of the partition are taken.
    taken: MutexGuard<'a, u32>,
}

type ClusterPlace<'a> = (&'a Bucket, usize);

impl PageTable {
    pub(crate) fn lock(&self, page: PageId) -> Partition<'_> {
        let sought = self.sought(page);
        let taken = self.locks[self.partition_of(sought)].lock();
        let cluster = self.look(sought, self.span_word(sought).load(Ordering::Relaxed));
        Partition { table: self, sought, cluster, taken }
    }
}

impl<'a> Partition<'a> {
    pub(crate) fn frame(&self) -> Option<FrameNo> {
        self.cluster.and_then(|(bucket, place)| bucket.clusters[place][self.sought.block].load())
    }

    pub(super) fn translation(&self) -> Option<Translation<'a>> {
        let (bucket, place) = self.cluster?;
        Translation::seen(self.sought, bucket, place, self.span_word(), self.span())
    }

    pub(super) fn list(&self) -> impl Iterator<Item = (FrameNo, PageId)> {
        let key = self.sought.key;
        self.cluster.into_iter().flat_map(move |(bucket, place)| mapped_in(key, &bucket.clusters[place]))
    }

    #[inline]
    pub(crate) fn insert(&mut self, frame: FrameNo) -> Result<(), Full> {
        let block = self.sought.block;
        if let Some((bucket, place)) = self.cluster {
            bucket.clusters[place][block].store(Some(frame));
            return Ok(());
        }
        if 2 * (*self.taken as usize + 1) > self.path(self.sought).len() * PLACES {
            self.grow();
        }
        self.cluster = Some(self.put(self.sought, |cluster| cluster[block].store(Some(frame)))?);
        *self.taken += 1;
        Ok(())
    }

    /// Removes pages of the cluster where they are mapped to these frames.
    #[inline]
    pub(crate) fn remove(&mut self, mapped: impl IntoIterator<Item = (PageId, FrameNo)>) {
        let Some((bucket, place)) = self.cluster else { return };
        let cluster = &bucket.clusters[place];
        let mut removed_any = false;
        for (page, frame) in mapped {
            let slot = &cluster[block_of(page)];
            if slot.load() == Some(frame) {
                slot.store(None);
                removed_any = true;
            }
        }
        if removed_any && cluster.iter().all(|slot| slot.load().is_none()) {
            bucket.keys[place].store(0, Ordering::Release);
            let passed = self.path(self.sought).take_while(|passed| !ptr::eq(*passed, bucket));
            passed.for_each(|bucket| bucket.pass_on(1_u64.wrapping_neg()));
            self.cluster = None;
            *self.taken -= 1;
        }
    }

    pub(crate) fn turn_to(&mut self, page: PageId) {
        debug_assert_eq!(key_of(page), self.sought.key);
        self.sought.block = block_of(page);
    }

    /// Doubles the partition, unless it is at its largest. Readers find its clusters where they were, or see by the span that they may move.
    #[cold]
    fn grow(&self) {
        let span = self.span();
        let doubled = 2 * span + 1;
        if doubled as usize >= self.table.buckets.len() {
            return;
        }
        self.span_word().store(span | GROWING, Ordering::Release);
        let mut clusters = Vec::with_capacity(*self.taken as usize);
        for bucket in self.path(self.sought) {
            for (place, key) in bucket.keys().filter(|&(_, key)| key != 0) {
                let frames: [_; BLOCKS] = from_fn(|block| bucket.clusters[place][block].load());
                bucket.clusters[place].iter().for_each(|slot| slot.store(None));
                bucket.keys[place].store(0, Ordering::Release);
                clusters.push((key, frames));
            }
            bucket.pass_on(bucket.passed_on().wrapping_neg());
        }
        // Used under this lock only: readers do not trust a span in which it is set.
        self.span_word().store(doubled | GROWING, Ordering::Release);
        for (key, frames) in clusters {
            let sought = Sought { key, hash: self.table.hash_of(key), block: 0 };
            let fill =
                |cluster: &Cluster| cluster.iter().zip(frames).for_each(|(slot, frame)| slot.store(frame));
            let _ = self.put(sought, fill).expect("there are twice as many places");
        }
        self.span_word().store(doubled, Ordering::Release);
    }

    /// Puts a cluster that is not in the table into a place, which `fill` fills.
    fn put(&self, sought: Sought, fill: impl FnOnce(&Cluster)) -> Result<ClusterPlace<'a>, Full> {
        let free = |bucket: &Bucket| {
            let belongs =
                Some(sought.place()).filter(|&place| bucket.keys[place].load(Ordering::Relaxed) == 0);
            belongs.or_else(|| bucket.place_of(0))
        };
        let with_room =
            self.path(sought).enumerate().find_map(|(passed, bucket)| Some((passed, bucket, free(bucket)?)));
        let (passed, bucket, place) = with_room.ok_or(Full)?;
        // Counted first, so that no lookup ends before it.
        self.path(sought).take(passed).for_each(|bucket| bucket.pass_on(1));
        fill(&bucket.clusters[place]);
        bucket.keys[place].store(sought.key, Ordering::Release);
        Ok((bucket, place))
    }

    fn path(&self, sought: Sought) -> impl ExactSizeIterator<Item = &'a Bucket> + use<'a> {
        self.table.path(sought, self.span())
    }

    fn span_word(&self) -> &'a AtomicU32 {
        self.table.span_word(self.sought)
    }

    fn span(&self) -> u32 {
        self.span_word().load(Ordering::Relaxed) & !GROWING
    }
}
