//! C10: a codec or a log that panics fails the operations that need it, and unwinds through no other caller.

use std::{io, num::NonZeroU32, panic::resume_unwind, path::Path, time::Duration};

use ringpool::{
    Callback, Error, IoMethod, Lsn, OpenOptions, PageAddress, PageCodec, PageId, StreamOptions, Wal,
    options::BackgroundWriter,
};

use crate::support::{Bench, assert_stamped, restamp, stamped_file, with_each_method};

/// Panics on pages of the file with this tag.
struct PanicsOn(u64);

impl PageCodec for PanicsOn {
    fn seal(&self, at: PageAddress, _: &mut [u8]) {
        if at.tag == self.0 {
            resume_unwind(Box::new("no page of this file can be sealed"));
        }
    }

    fn open(&self, _: PageAddress, _: &mut [u8]) -> Result<(), String> {
        Ok(())
    }
}

struct PanickingLog;

impl Wal for PanickingLog {
    fn flushed_lsn(&self) -> Lsn {
        Lsn::UNLOGGED
    }

    fn flush(&self, _: Lsn) -> io::Result<Lsn> {
        resume_unwind(Box::new("the log is gone"))
    }
}

const FRAMES: u32 = 8;

/// Makes a bench whose frames all hold changed pages that cannot be written; and names another page of their file.
fn bench_of_stuck_pages(method: IoMethod, is_codec: bool) -> (Bench, PageId) {
    let bench = Bench::with(2 * FRAMES, |builder| {
        let builder = builder.frames(FRAMES).io_method(method).frame_wait(Duration::from_millis(50));
        let builder = builder.background_writer(BackgroundWriter::Off);
        if is_codec { builder.codec(PanicsOn(0)) } else { builder.wal(PanickingLog) }
    });
    for block in 0..FRAMES {
        let page = bench.fetch(block).unwrap();
        restamp(&page, 2);
        page.write().unwrap().set_lsn(Lsn(7));
    }
    let other = bench.page(FRAMES + 3);
    (bench, other)
}

#[test]
fn c10_a_fetch_whose_victims_make_a_callback_panic_gets_an_error() {
    with_each_method(|method| {
        for is_codec in [true, false] {
            let (bench, other) = bench_of_stuck_pages(method.clone(), is_codec);
            let pool = &bench.pool;
            let fetched = pool.fetch(other).wait();
            // It names what panicked: the page is one that was to be written to free a frame.
            let is_named = |callback, page: Option<PageId>| match (is_codec, callback, page) {
                (true, Callback::CodecSeal, Some(page)) => page.file == bench.file,
                (false, Callback::Log, None) => true,
                _ => false,
            };
            assert!(
                matches!(fetched, Err(Error::Panicked { callback, page, .. }) if is_named(callback, page)),
                "{fetched:?}"
            );
            let viewed = pool.read(other).wait();
            assert!(matches!(viewed, Err(Error::Panicked { .. })), "{viewed:?}");
            let many = pollster::block_on(pool.fetch_many(&[other]));
            assert!(matches!(many, Err(Error::Panicked { .. })), "{many:?}");
            let _ = pool.prefetch(other.file.pages(FRAMES..FRAMES + 4));
            let streamed: Vec<_> =
                pool.read_stream(other.file.pages(FRAMES..FRAMES + 2), StreamOptions::new()).collect();
            assert!(streamed.iter().all(Result::is_err), "a stream");
            (0..FRAMES).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 2));
            assert_eq!(pool.validate(), Ok(()));
        }
    });
}

#[test]
fn c10_a_codec_that_panics_over_new_pages_leaves_the_file_as_it_was() {
    with_each_method(|method| {
        let bench =
            Bench::with(FRAMES, |builder| builder.frames(FRAMES).io_method(method).codec(PanicsOn(0)));
        bench.disk.put("other", stamped_file(FRAMES, 1));
        let other = bench.pool.open_file("other", OpenOptions::new().tag(1)).unwrap();
        let blocks = NonZeroU32::new(3).unwrap();
        let before = bench.image();
        let extended = bench.pool.extend(bench.file, blocks).wait();
        let Err(error @ Error::Panicked { callback: Callback::CodecSeal, page: Some(page), .. }) = extended
        else {
            panic!("{extended:?}");
        };
        assert_eq!((page, error.path()), (bench.page(FRAMES), Some(Path::new("data"))), "{error}");
        let extended = pollster::block_on(bench.pool.extend(bench.file, blocks));
        assert!(matches!(extended, Err(Error::Panicked { .. })), "{extended:?}");
        assert_eq!(bench.pool.blocks(bench.file).unwrap(), FRAMES);
        assert!(bench.image() == before, "blocks that are not sealed are on disk");
        assert_eq!(bench.pool.extend(other, blocks).wait().unwrap().blocks, 3);
    });
}
