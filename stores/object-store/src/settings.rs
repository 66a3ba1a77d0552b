//! What can be set: [`Settings`].

use std::time::Duration;

/// Limits and times of a storage. The defaults suit objects at some 20 ms a request and 100 MB/s a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of pages in one segment, at the most, and how many are collected before a segment is put ahead of the next sync. From 64 KiB to 1 GiB;
    /// 16 MiB by default.
    pub segment_bytes: u32,
    /// Bytes of pages of a file that are written and not yet in the store. A write that finds as many waits for a put to end. With less than
    /// two segments, smaller ones are put. 256 MiB by default.
    pub memory_bytes: u64,
    /// Requests in flight, of all files of the storage. 512 by default.
    pub in_flight: u32,
    /// Bytes between two wanted parts of an object that are fetched with them, to save a request. 64 KiB by default.
    pub combine_gap: u32,
    /// How many of the latest versions a reader can still open, from 1 on. 16 by default. A version that a reader has open is kept beyond that.
    pub keep_versions: u64,
    /// How long a reader keeps its version after it was last heard of. A reader that lives says so four times in this time. One hour by default; the
    /// clocks of the writer's machine and of the store may differ by half of it.
    pub pin_lifetime: Duration,
    /// Bytes that one sync writes again to keep the file compact, at the most. 64 MiB by default, 0 for never.
    pub compact_bytes: u64,
    /// Bytes in objects that no page needs any more, beyond as many as are needed, from which on a sync writes again. 64 MiB by default.
    pub garbage_bytes: u64,
    /// How many objects with pages a file has before a sync writes the smallest again. 4,096 by default.
    pub most_objects: usize,
    /// How many runs of neighbouring pages a file's map has before a sync writes the shortest again. 1,048,576 by default, each of which takes 44 bytes
    /// of memory.
    pub most_runs: usize,
    /// How many syncs store their changes of the map alone, before one stores the whole map: so many more requests opening the file takes. 64 by
    /// default.
    pub base_every: usize,
    /// How many objects that no kept version names are removed together. 32 by default.
    pub remove_together: usize,
    /// How long one request may take before it is sent again. 30 seconds by default.
    pub request_timeout: Duration,
    /// How long to wait before a request that was throttled or failed is sent again, at first: each time twice as long, up to 64 times, and up to
    /// half of it less or more. 50 milliseconds by default.
    pub retry_wait: Duration,
    /// How long a request is sent again, all in all. Two minutes by default.
    pub give_up_after: Duration,
    /// What makes the waits differ. Random by default; for tests that are to do the same again.
    pub wait_seed: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            memory_bytes: 256 << 20,
            in_flight: 512,
            combine_gap: 64 << 10,
            keep_versions: 16,
            pin_lifetime: Duration::from_secs(3600),
            compact_bytes: 64 << 20,
            garbage_bytes: 64 << 20,
            most_objects: 4096,
            most_runs: 1 << 20,
            base_every: 64,
            remove_together: 32,
            request_timeout: Duration::from_secs(30),
            retry_wait: Duration::from_millis(50),
            give_up_after: Duration::from_secs(120),
            wait_seed: None,
        }
    }
}
