//! What a stream may take at the most: its options, cut to what the pool can give.

use crate::{
    buffer::residency::Residency, io::options::COMBINE_LIMIT_MAX, read::options::StreamOptions,
    runtime::config::Config,
};

/// The most bytes of the pages that a stream holds in advance, unless set: as many as keep a fast disk busy with requests of
/// ordinary size.
const LOOK_AHEAD: usize = 4 << 20;

/// The most pages that it holds in advance, unless set, however small they are.
const LOOK_AHEAD_PAGES: usize = 1024;

/// The limits of one stream, which keeps them when the pool changes its size.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamLimits {
    /// Pages of a request.
    pub(super) combine: usize,
    /// Pages held in advance.
    pub(super) ahead: usize,
    /// Frames of the ring of a bulk read.
    pub(super) ring: Option<usize>,
}

impl StreamLimits {
    pub(super) fn new(options: &StreamOptions, config: &Config, pool: &Residency) -> Self {
        let page_size = config.page_size.bytes();
        let pages = |bytes: usize| bytes.min(COMBINE_LIMIT_MAX) / page_size;
        let combine = options.combine_limit_bytes.map_or(config.combine_pages, pages).max(1);
        let wanted =
            options.look_ahead_pages.map_or((LOOK_AHEAD / page_size).min(LOOK_AHEAD_PAGES), |n| n as usize);
        // Half of the quota, so that a second stream can look ahead too.
        let ahead = wanted.min(pool.read_ahead_quota.limit().div_ceil(2)).max(1);
        let Some(bytes) = options.ring_bytes else { return Self { combine, ahead, ring: None } };
        let kept = (bytes / page_size).max(1);
        let ring = (kept + ahead).min(pool.size.frames() as usize / 8).max(1);
        // A ring that was cut still turns: look-ahead never fills it.
        let ahead = ahead.min(ring - kept.min(ring / 2)).max(1);
        Self { combine, ahead, ring: Some(ring) }
    }
}
