//! Where a page was last found.

use crate::id::FrameNo;

/// The frame in which a page was, from [`PinnedPage::hint`](crate::PinnedPage::hint) or [`PageView::hint`](crate::PageView::hint).
///
/// Kept beside a reference to the page, it saves the next fetch the look at the page table. It holds nothing: the page may leave
/// the frame, and another come, and whoever uses the hint is told so. (PostgreSQL's `ReadRecentBuffer`.)
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PageHint(pub(crate) FrameNo);
