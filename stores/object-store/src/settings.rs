//! What can be set, within which ranges: [`Settings`].

use std::time::Duration;

const KIB: u32 = 1 << 10;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Limits and times of a storage. The defaults suit objects at some 20 ms a request and 100 MB/s a stream.
///
/// A value outside of its range is taken as the nearest one within it: [`ObjectFiles::settings`](crate::ObjectFiles::settings) returns what is in
/// use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of pages in one segment, at the most. Default: 16 MiB. Range: 4 KiB to 1 GiB. A page that is larger is a segment by itself.
    pub segment_bytes: u32,
    /// Bytes of pages of a file that are written and not yet in the store. From half of them on, segments are put ahead of the next sync, in the order
    /// of the file. A write that finds as many waits for a put to end. With less than two segments, smaller ones are put. Default: 256 MiB. Range: from
    /// 8 KiB on.
    pub memory_bytes: u64,
    /// Requests in flight, of all files of the storage. Default: 512. Range: 1 to 65,536.
    pub in_flight: u32,
    /// Bytes between two wanted parts of an object that are fetched with them, to save a request. Default: 64 KiB. Range: all values.
    pub combine_gap: u32,
    /// How many of the latest versions a reader can still open. Default: 16. Range: 1 to 65,536; each takes some 20 bytes of the head, which each sync
    /// puts. A version that a reader has open is kept beyond that.
    pub keep_versions: u64,
    /// How long a reader keeps its version after it was last heard of. A reader that lives puts its pin again four times in this time. Default: one
    /// hour. Range: 1 second to 1 year. The clocks of the writer's machine and of the store may differ by half of it.
    pub pin_lifetime: Duration,
    /// Bytes that one sync writes again to keep the file compact, at the most. Default: 64 MiB. Range: all values; 0 for never.
    pub compact_bytes: u64,
    /// Bytes in objects that no page needs any more, beyond as many as are needed, from which on a sync writes again. Default: 64 MiB. Range: all
    /// values.
    pub garbage_bytes: u64,
    /// How many objects with pages a file has before a sync writes the smallest again. Default: 4,096. Range: all values.
    pub most_objects: usize,
    /// How many runs of neighbouring pages a file's map has before a sync writes the shortest again. Default: 1,048,576, each of which takes 44 bytes
    /// of memory. Range: all values.
    pub most_runs: usize,
    /// How many syncs store their changes of the map alone, before one stores the whole map: so many more requests opening the file takes. Default:
    /// 64. Range: 0 to 4,096.
    pub base_every: usize,
    /// How many objects that no kept version names are removed together. Default: 32. Range: from 1 on.
    pub remove_together: usize,
    /// How long one request may take before it is sent again. Default: 30 seconds. Range: 1 millisecond to 1 hour.
    pub request_timeout: Duration,
    /// How long to wait before a request that was throttled or failed is sent again, at first: each time twice as long, up to 64 times, and up to
    /// half of it less or more. Default: 50 milliseconds. Range: 1 millisecond to 1 minute.
    pub retry_wait: Duration,
    /// How long a request is sent again, all in all. Default: two minutes. Range: 0, for one attempt, to 1 year.
    pub give_up_after: Duration,
    /// What makes the waits differ. Default: random. Set it for tests that are to do the same again.
    pub wait_seed: Option<u64>,
}

impl Settings {
    /// Takes each value as the nearest one within its range.
    pub(crate) fn within_ranges(self) -> Self {
        Self {
            segment_bytes: self.segment_bytes.clamp(4 * KIB, KIB * KIB * KIB),
            memory_bytes: self.memory_bytes.max(8 * u64::from(KIB)),
            in_flight: self.in_flight.clamp(1, 1 << 16),
            keep_versions: self.keep_versions.clamp(1, 1 << 16),
            pin_lifetime: self.pin_lifetime.clamp(Duration::from_secs(1), YEAR),
            base_every: self.base_every.min(4096),
            remove_together: self.remove_together.max(1),
            request_timeout: self.request_timeout.clamp(Duration::from_millis(1), HOUR),
            retry_wait: self.retry_wait.clamp(Duration::from_millis(1), MINUTE),
            give_up_after: self.give_up_after.min(YEAR),
            ..self
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            memory_bytes: 256 << 20,
            in_flight: 512,
            combine_gap: 64 << 10,
            keep_versions: 16,
            pin_lifetime: HOUR,
            compact_bytes: 64 << 20,
            garbage_bytes: 64 << 20,
            most_objects: 4096,
            most_runs: 1 << 20,
            base_every: 64,
            remove_together: 32,
            request_timeout: Duration::from_secs(30),
            retry_wait: Duration::from_millis(50),
            give_up_after: 2 * MINUTE,
            wait_seed: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::ObjectFiles;

    const PAGE: usize = 1024;

    const LEAST: Settings = Settings {
        segment_bytes: 0,
        memory_bytes: 0,
        in_flight: 0,
        combine_gap: 0,
        keep_versions: 0,
        pin_lifetime: Duration::ZERO,
        compact_bytes: 0,
        garbage_bytes: 0,
        most_objects: 0,
        most_runs: 0,
        base_every: 0,
        remove_together: 0,
        request_timeout: Duration::ZERO,
        retry_wait: Duration::ZERO,
        give_up_after: Duration::ZERO,
        wait_seed: Some(0),
    };

    const MOST: Settings = Settings {
        segment_bytes: u32::MAX,
        memory_bytes: u64::MAX,
        in_flight: u32::MAX,
        combine_gap: u32::MAX,
        keep_versions: u64::MAX,
        pin_lifetime: Duration::MAX,
        compact_bytes: u64::MAX,
        garbage_bytes: u64::MAX,
        most_objects: usize::MAX,
        most_runs: usize::MAX,
        base_every: usize::MAX,
        remove_together: usize::MAX,
        request_timeout: Duration::MAX,
        retry_wait: Duration::MAX,
        give_up_after: Duration::MAX,
        wait_seed: Some(u64::MAX),
    };

    /// Writes, syncs, removes and reads with these settings.
    async fn use_with(settings: Settings) {
        let runtime = tokio::runtime::Handle::current();
        let files = ObjectFiles::new(Arc::new(InMemory::new()), "test", settings, runtime);
        let writer = files.open_writer("file", PAGE as u32, true).await.unwrap();
        for sync in 1..=40u8 {
            for block in 0..20 {
                writer.write((block * 7 % 20) as u64 * PAGE as u64, &[sync; PAGE]).await.unwrap();
            }
            writer.sync().await.unwrap();
        }
        writer.sweep().await.unwrap();
        let reader = files.open_reader("file", None).await.unwrap();
        assert!(reader.read(0, usize::MAX).await.unwrap() == vec![40; 20 * PAGE]);
        // A request that fails and is sent again counts on the waits and the deadline.
        let mut attempts = files.client.attempts();
        let is_sent_again = tokio::time::timeout(2 * MINUTE, attempts.wait()).await.unwrap();
        assert_eq!(is_sent_again, settings.give_up_after > Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_storage_works_with_the_least_and_the_most_of_every_setting() {
        use_with(LEAST).await;
        use_with(MOST).await;
        // Each extreme alone, for two may hide each other.
        let default = Settings::default();
        for extreme in [LEAST, MOST] {
            for settings in [
                Settings { segment_bytes: extreme.segment_bytes, ..default },
                Settings { memory_bytes: extreme.memory_bytes, ..default },
                Settings { garbage_bytes: extreme.garbage_bytes, most_objects: 4, ..default },
                Settings { most_objects: extreme.most_objects, garbage_bytes: 0, ..default },
                Settings { most_runs: extreme.most_runs, ..default },
                Settings { remove_together: extreme.remove_together, keep_versions: 1, ..default },
                Settings { request_timeout: extreme.request_timeout, ..default },
                Settings { retry_wait: extreme.retry_wait, give_up_after: YEAR, ..default },
                Settings { give_up_after: extreme.give_up_after, ..default },
                Settings { pin_lifetime: extreme.pin_lifetime, ..default },
            ] {
                use_with(settings).await;
            }
        }
    }

    #[test]
    fn a_value_within_its_range_stays_and_the_storage_says_what_it_uses() {
        assert_eq!(Settings::default().within_ranges(), Settings::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let files = ObjectFiles::new(Arc::new(InMemory::new()), "test", MOST, runtime.handle().clone());
        assert_eq!(files.settings().retry_wait, MINUTE);
        assert_eq!(files.settings().pin_lifetime, YEAR);
    }
}
