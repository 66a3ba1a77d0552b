//! A page as it is read without pin and latch.

use std::fmt;

use crate::buffer::{mirrors::Look, page::PageView};

/// The bytes of a page that others may change or evict at any moment.
///
/// Nothing stops them; but what this gives is always of the one moment in which the look began. As soon as the page is another,
/// it gives nothing any more, but [`Changed`]. So what was read fits together, and a search in it cannot go astray.
pub struct OptimisticPage<'a>(Source<'a>);

enum Source<'a> {
    Mirror(Look<'a>),
    /// Where there is no copy: latched, so it does not change.
    View(PageView),
}

/// The page was changed, or left the pool, since the look at it began. Look again.
#[derive(Debug, thiserror::Error)]
#[error("the page has changed since the look at it began")]
pub struct Changed(());

impl<'a> OptimisticPage<'a> {
    #[inline]
    pub(crate) fn of_mirror(look: Look<'a>) -> Self {
        Self(Source::Mirror(look))
    }

    pub(crate) fn of_view(view: PageView) -> Self {
        Self(Source::View(view))
    }

    /// The page's size, in bytes.
    #[inline]
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.0 {
            Source::Mirror(look) => look.len(),
            Source::View(view) => view.len(),
        }
    }

    /// The `N` bytes at `at`: of a number, say, which `u32::from_le_bytes` and its kind make of them.
    ///
    /// # Errors
    /// [`Changed`].
    ///
    /// # Panics
    /// Where they do not lie in the page.
    #[inline]
    pub fn bytes_at<const N: usize>(&self, at: usize) -> Result<[u8; N], Changed> {
        let mut bytes = [0; N];
        self.copy_to(at, &mut bytes).map(|()| bytes)
    }

    /// Fills `to` with the bytes from `at` on.
    ///
    /// # Errors
    /// [`Changed`]: what is in `to` then means nothing.
    ///
    /// # Panics
    /// Where they do not lie in the page.
    #[inline]
    pub fn copy_to(&self, at: usize, to: &mut [u8]) -> Result<(), Changed> {
        let size = self.size();
        assert!(at <= size && to.len() <= size - at, "{} bytes at {at} of a page of {size}", to.len());
        match &self.0 {
            Source::Mirror(look) => look.copy_to(at, to).then_some(()).ok_or(Changed(())),
            Source::View(view) => {
                to.copy_from_slice(&view[at..][..to.len()]);
                Ok(())
            }
        }
    }
}

impl fmt::Debug for OptimisticPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Mirror(_) => f.write_str("OptimisticPage(a copy)"),
            Source::View(view) => write!(f, "OptimisticPage({view:?})"),
        }
    }
}
