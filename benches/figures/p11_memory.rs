//! P11: memory beside the pages, as the pool counts it: headers, page table, shadow pages.

use lab::Result;
use lab::report::FigureRow;
use ringpool::{BufferPool, IoMethod};

use crate::bench::{Bench, Goal, PAGE};

pub(crate) fn measure(_: &Bench) -> Result<Vec<FigureRow>> {
    [(128 << 20, "128 MiB of pages"), (1 << 30, "1 GiB of pages")].map(beside).into_iter().collect()
}

fn beside((memory, name): (usize, &'static str)) -> Result<FigureRow> {
    let pool =
        BufferPool::builder().memory_bytes(memory).page_size(PAGE).io_method(IoMethod::Sync).build()?;
    let stats = pool.stats();
    let share = stats.overhead_bytes as f64 / stats.page_bytes as f64;
    let detail = format!("{} KiB beside {} MiB", stats.overhead_bytes >> 10, stats.page_bytes >> 20);
    Ok(Goal::at_most("P11", name, 0.01).alone(share, detail))
}
