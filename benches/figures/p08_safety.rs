//! What safety costs a checkpoint: a codec that seals each page with a checksum, a log that has to be durable first, a doublewrite
//! area that every page goes to first. Each on beside a pool without any of them: its rate to that pool's, and its CPU a page.
//!
//! Each pool has a file of its own, which it makes, since sealed pages are no others' business. The log is in memory and durable
//! as soon as it is asked to be: what it takes to write it is the engine's, what is measured is the gate.

use lab::Result;
use lab::report::FigureRow;

use crate::bench::{Bench, Goal};

#[cfg(not(feature = "crc32c"))]
pub(crate) fn measure(_: &Bench) -> Result<Vec<FigureRow>> {
    Ok(vec![Goal::none("P8c", "the cost of safety").missing("needs a codec: run with --features crc32c")])
}

#[cfg(feature = "crc32c")]
pub(crate) use measured::measure;

#[cfg(feature = "crc32c")]
mod measured {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use lab::{Arm, Meter, Place, Sample};
    use ringpool::{
        BufferPool, Builder, CheckpointOptions, Crc32c, DoubleWriteArea, Fallback, FileId, Lsn, OpenOptions,
        PageId, TornPages, Wal,
    };

    use super::*;
    use crate::bench::PAGE;
    use crate::p08_checkpoint::{PAGES, dense_pages, random_pages, ranges};
    use crate::support::methods;

    /// Blocks of each file, of which a checkpoint writes some.
    const BLOCKS: u32 = 4 * PAGES;

    const WITHOUT: &str = "without";
    const CODEC: &str = "codec";
    const LOG: &str = "log";
    const DOUBLEWRITE: &str = "doublewrite";

    type With = fn(Builder, &Path) -> Builder;

    const ARMS: [(&str, With); 4] = [
        (WITHOUT, |builder, _| builder),
        (CODEC, |builder, _| builder.codec(Crc32c)),
        (LOG, |builder, _| builder.wal(Log::default())),
        (DOUBLEWRITE, |builder, folder| {
            builder.torn_pages(TornPages::DoubleWrite(DoubleWriteArea::new(folder.join("area"))))
        }),
    ];

    /// The rows of each way to be safe, for random pages and for dense ranges: its rate, and its CPU.
    const ROWS: [(&str, [[&str; 2]; 2]); 3] = [
        (
            CODEC,
            [
                ["random, codec", "random, codec, CPU us a page"],
                ["dense, codec", "dense, codec, CPU us a page"],
            ],
        ),
        (LOG, [["random, log", "random, log, CPU us a page"], ["dense, log", "dense, log, CPU us a page"]]),
        (
            DOUBLEWRITE,
            [
                ["random, doublewrite", "random, doublewrite, CPU us a page"],
                ["dense, doublewrite", "dense, doublewrite, CPU us a page"],
            ],
        ),
    ];

    pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
        let folder = tempfile::Builder::new().prefix("ringpool-").tempdir_in(&bench.dir)?;
        let direct = bench.input()?.buffered().is_none();
        let open = |(name, with): (&'static str, With)| {
            Ok((name, Pool::open(folder.path(), name, direct, |builder| with(builder, folder.path()))?))
        };
        let pools: Vec<(&str, Pool)> = ARMS.into_iter().map(open).collect::<Result<_>>()?;
        let workloads = [random_pages(&[BLOCKS]), dense_pages(&ranges(&[BLOCKS]))];
        let mut rows = Vec::new();
        for (workload, pages) in workloads.iter().enumerate() {
            let arms =
                pools.iter().map(|(name, pool)| Arm::new(*name, |round| pool.checkpoint(pages, round)));
            let outcome = bench.run("P8c", WITHOUT, arms.collect())?;
            let cpu = |arm: &str| format!("{:.2} us", outcome.summary(arm).cpu_us_per_page);
            for (arm, names) in ROWS {
                let [rate, cpu_a_page] = names[workload];
                rows.push(Goal::none("P8c", rate).ratio(
                    &outcome,
                    (arm, WITHOUT),
                    Sample::pages_per_s,
                    crate::bench::rate(&outcome),
                ));
                let goal = Goal::none("P8c", cpu_a_page);
                rows.push(match outcome.spread(arm, Sample::cpu_us_per_page) {
                    Some(spread) => {
                        let noise = outcome.noise(Sample::cpu_us_per_page);
                        goal.spread(&outcome, spread, noise, &format!("{WITHOUT} {}", cpu(WITHOUT)))
                    }
                    None => goal.missing("there were no rounds"),
                });
            }
        }
        Ok(rows)
    }

    /// A pool that has all of its file resident.
    struct Pool {
        pool: BufferPool,
        file: FileId,
    }

    impl Pool {
        fn open(
            folder: &Path,
            name: &str,
            direct: bool,
            with: impl FnOnce(Builder) -> Builder,
        ) -> Result<Self> {
            let builder = BufferPool::builder().frames(BLOCKS + BLOCKS / 8).page_size(PAGE);
            let builder = builder.io_method(methods::uring(64).method).combine_limit(256 << 10);
            let pool = with(builder).build()?;
            let direct = if direct { Fallback::Require } else { Fallback::Off };
            let options = OpenOptions::new().create(true).tag(1).direct(direct).initial_blocks(BLOCKS);
            let file = pool.open_file(folder.join(name), options)?;
            Ok(Self { pool, file })
        }

        /// Changes the pages, under a log record each, and has them written while the clock runs.
        fn checkpoint(&self, pages: &[Place], round: u32) -> Result<Sample> {
            for (number, place) in (1..).zip(pages) {
                let page = self.pool.fetch(PageId::new(self.file, place.block)).wait()?;
                let mut bytes = page.write()?;
                bytes.set_lsn(Lsn(u64::from(round) << 32 | number));
                bytes[0] = round as u8;
            }
            let meter = Meter::start();
            let written = self.pool.checkpoint(CheckpointOptions::new()).wait()?.pages_written;
            let elapsed = meter.stop();
            if written != pages.len() as u64 {
                return Err(format!("the checkpoint wrote {written} pages of {}", pages.len()).into());
            }
            Ok(elapsed.sample(written, written * u64::from(PAGE)))
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<AtomicU64>);

    impl Wal for Log {
        fn flushed_lsn(&self) -> Lsn {
            Lsn(self.0.load(Ordering::Acquire))
        }

        fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
            Ok(Lsn(self.0.fetch_max(up_to.0, Ordering::AcqRel).max(up_to.0)))
        }
    }
}
