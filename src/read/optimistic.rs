//! Reading a page that all threads read, without a write to anything that they share.

use crate::{
    buffer::page::{Changed, OptimisticPage},
    error::Result,
    id::PageId,
    observe::Counter,
    read::view::View,
    runtime::shared::Shared,
    sync::Arc,
};

/// A look at the page, if it has a copy to be read so.
#[inline]
pub(crate) fn try_look(shared: &Shared, page: PageId) -> Option<OptimisticPage<'_>> {
    let look = shared.pool.look_aside(page)?;
    shared.counters.add(Counter::Hits, 1);
    Some(OptimisticPage::of_mirror(look))
}

/// Has `look` look at the page's copy, or else at the page itself, which then gets one.
#[inline]
pub(crate) fn read<T>(
    shared: &Arc<Shared>,
    page: PageId,
    look: impl Fn(&OptimisticPage<'_>) -> Result<T, Changed>,
) -> Result<T> {
    if let Some(copy) = try_look(shared, page)
        && let Ok(value) = look(&copy)
    {
        return Ok(value);
    }
    read_latched(shared, page, look)
}

#[cold]
fn read_latched<T>(
    shared: &Arc<Shared>,
    page: PageId,
    look: impl Fn(&OptimisticPage<'_>) -> Result<T, Changed>,
) -> Result<T> {
    let view = View::new(shared, page).wait()?;
    view.mirror();
    Ok(look(&OptimisticPage::of_view(view)).expect("a page does not change under a latch"))
}
