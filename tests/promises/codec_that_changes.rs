//! A codec that changes the bytes on the way in (`PageCodec::open`): the page is what was sealed, opened once for each read, and shown to no
//! thread where it was not opened to the end.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ringpool::{
    BufferPool, CheckpointOptions, Error, FileId, IoMethod, OpenOptions, PageAddress, PageCodec, PageId,
    StreamOptions,
    options::{DoubleWriteArea, TornPages},
    report::Evicted,
    testing::{Fault, Op, SimDisk},
};

use crate::support::{
    Bench, EIO, PAGE, eventually, fetch_apart, guarded, join_read, outcome, stamped, with_each_method,
};

const TAG: u64 = 42;
const BLOCKS: u32 = 24;
const BODY: usize = PAGE - 16;

/// A toy cipher whose result differs each time. It opens before it verifies, so the bytes of a page that it refuses, or panics
/// over, are changed already.
#[derive(Clone, Default)]
struct Cipher(Arc<Calls>);

#[derive(Default)]
struct Calls {
    seals: AtomicU64,
    opens: AtomicU64,
    panics: AtomicBool,
}

impl Cipher {
    fn opens(&self) -> u64 {
        self.0.opens.load(Ordering::SeqCst)
    }

    fn sealed(&self, block: u32, version: u8) -> Vec<u8> {
        let mut page = stamped(block, version);
        self.seal(PageAddress::new(TAG, block), &mut page);
        page
    }
}

/// Changes each word of the page by another number.
fn scramble(at: PageAddress, nonce: u64, body: &mut [u8]) {
    let mut state = at.tag ^ u64::from(at.block.0) << 32 ^ nonce.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for word in body.chunks_exact_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.iter_mut().zip(state.to_le_bytes()).for_each(|(byte, key)| *byte ^= key);
    }
}

/// Returns a number that depends on each byte of the page as it was before it was sealed.
fn digest(at: PageAddress, body: &[u8]) -> u64 {
    let seed = at.tag ^ u64::from(at.block.0);
    body.iter().fold(seed, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)) | 1
}

impl PageCodec for Cipher {
    fn seal(&self, at: PageAddress, page: &mut [u8]) {
        let nonce = self.0.seals.fetch_add(1, Ordering::SeqCst) + 1;
        let sum = digest(at, &page[..BODY]);
        scramble(at, nonce, &mut page[..BODY]);
        page[BODY..][..8].copy_from_slice(&nonce.to_le_bytes());
        page[BODY + 8..].copy_from_slice(&sum.to_le_bytes());
    }

    fn open(&self, at: PageAddress, page: &mut [u8]) -> Result<(), String> {
        self.0.opens.fetch_add(1, Ordering::SeqCst);
        let word = |page: &[u8], from: usize| u64::from_le_bytes(page[from..][..8].try_into().unwrap());
        let (nonce, sum) = (word(page, BODY), word(page, BODY + 8));
        scramble(at, nonce, &mut page[..BODY]);
        assert!(!self.0.panics.load(Ordering::SeqCst), "the codec's own panic");
        if digest(at, &page[..BODY]) == sum { Ok(()) } else { Err("not what was sealed".into()) }
    }
}

/// Makes a pool with the codec, and a file of sealed pages.
fn bench(method: IoMethod, frames: u32) -> (Bench, Cipher) {
    let cipher = Cipher::default();
    let mut bench = Bench::with(1, |builder| builder.frames(frames).io_method(method).codec(cipher.clone()));
    let sealed: Vec<u8> = (0..BLOCKS).flat_map(|block| cipher.sealed(block, 1)).collect();
    bench.disk.put("sealed", sealed);
    bench.file = bench.pool.open_file("sealed", OpenOptions::new().tag(TAG)).unwrap();
    (bench, cipher)
}

#[track_caller]
fn assert_is(bytes: &[u8], block: u32, version: u8) {
    assert!(bytes[..BODY] == stamped(block, version)[..BODY], "block {block} is not its version {version}");
}

fn damage(bench: &Bench, change: impl FnOnce(&mut [u8])) {
    let mut bytes = bench.disk.image("sealed").unwrap();
    change(&mut bytes);
    bench.disk.put("sealed", bytes);
}

#[test]
fn c1_each_way_to_a_page_shows_what_was_sealed() {
    with_each_method(|method| {
        let (bench, cipher) = bench(method, 32);
        let all = || (0..BLOCKS).map(|block| bench.page(block));
        let evict = |page| bench.pool.evict(page).wait().unwrap();
        let forget = || all().for_each(|page| assert_eq!(evict(page), Evicted::Yes, "{page}"));
        for page in all() {
            assert_is(&bench.pool.fetch(page).wait().unwrap().read(), page.block.0, 1);
            assert_is(&pollster::block_on(bench.pool.read(page)).unwrap(), page.block.0, 1);
        }
        assert_eq!(cipher.opens(), u64::from(BLOCKS), "once for each read");
        forget();
        for page in all() {
            assert_is(&bench.pool.write(page).wait().unwrap(), page.block.0, 1);
        }
        for options in [StreamOptions::new(), StreamOptions::new().bulk()] {
            forget();
            for item in bench.pool.read_stream(bench.file.pages(0..BLOCKS), options) {
                let page = item.unwrap();
                assert_is(&page.read(), page.id().block.0, 1);
            }
        }
        // Frames of the ring had several of them by turns.
        all().for_each(|page| assert_ne!(evict(page), Evicted::Pinned, "{page}"));
        bench.pool.prefetch(bench.file.pages(0..BLOCKS));
        let pages = bench.pool.fetch_many(&all().collect::<Vec<_>>()).wait().unwrap();
        (0..).zip(&pages).for_each(|(block, page)| assert_is(&page.read(), block, 1));
        assert_eq!(cipher.opens(), 5 * u64::from(BLOCKS));
    });
}

#[test]
fn c1_a_page_is_sealed_anew_for_each_write_and_comes_back_as_it_was() {
    with_each_method(|method| {
        let (bench, _) = bench(method, 8);
        let in_place = |block: usize| bench.disk.image("sealed").unwrap()[block * PAGE..][..PAGE].to_vec();
        for version in 2..5 {
            let before = in_place(3);
            // More pages than frames.
            bench.dirty(0..BLOCKS, version);
            (0..BLOCKS).for_each(|block| assert_is(&bench.fetch(block).unwrap().read(), block, version));
            bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
            assert!(in_place(3) != before && in_place(3)[..BODY] != stamped(3, version)[..BODY]);
            // The same bytes under another nonce.
            let before = in_place(3);
            bench.dirty([3], version);
            bench.pool.flush(bench.page(3)).wait().unwrap();
            assert!(in_place(3)[..64] != before[..64]);
        }
    });
}

#[test]
fn c1_pages_that_are_added_are_opened_to_zeros_and_zeros_of_a_sparse_file_are_not_opened() {
    with_each_method(|method| {
        let (mut bench, cipher) = bench(method, 8);
        bench.pool.extend(bench.file, NonZeroU32::new(3).unwrap()).wait().unwrap();
        for block in BLOCKS..BLOCKS + 3 {
            assert!(bench.fetch(block).unwrap().read()[..BODY].iter().all(|&byte| byte == 0));
        }
        bench.disk.put("sparse", vec![0; 2 * PAGE]);
        bench.file = bench.pool.open_file("sparse", OpenOptions::new().tag(TAG + 1).sparse(true)).unwrap();
        let before = cipher.opens();
        assert!(bench.fetch(1).unwrap().read().iter().all(|&byte| byte == 0));
        assert_eq!(cipher.opens(), before);
    });
}

#[test]
fn c2_a_page_that_is_refused_half_opened_is_shown_to_none_and_read_anew() {
    with_each_method(|method| {
        let (bench, cipher) = bench(method, 8);
        let sound = bench.disk.image("sealed").unwrap();
        damage(&bench, |file| file[3 * PAGE + 100] ^= 1);
        let gate = bench.disk.hold(Op::Read);
        let first = fetch_apart(&bench.pool, bench.page(3), false);
        gate.wait_for(1);
        let mut all = join_read(&bench.pool, bench.page(3), 12);
        all.push(first);
        gate.open();
        for fetching in all {
            let end = outcome(fetching);
            assert!(matches!(end, Err(Error::Corrupt { .. })), "{end:?}");
        }
        assert_eq!(cipher.opens(), bench.disk.count(Op::Read) as u64, "opened once for each read");
        assert!(
            bench.pool.fetch(bench.page(3)).now().is_none() && bench.pool.read(bench.page(3)).now().is_none()
        );
        bench.assert_at_rest();
        bench.disk.put("sealed", sound);
        assert_is(&bench.fetch(3).unwrap().read(), 3, 1);
    });
}

#[test]
fn c2_pages_of_a_read_that_failed_as_a_whole_are_opened_once_each() {
    with_each_method(|method| {
        let (bench, cipher) = bench(method, 64);
        // The run of all pages fails, as does the page itself when it is read alone.
        bench.disk.inject(Fault::error(Op::Read, EIO).touching(5 * PAGE as u64..6 * PAGE as u64));
        bench.pool.prefetch(bench.file.pages(0..BLOCKS));
        eventually("the run is over", || bench.pool.in_flight().is_empty());
        assert_eq!(cipher.opens(), 0);
        for block in (0..BLOCKS).filter(|&block| block != 5) {
            assert_is(&bench.fetch(block).unwrap().read(), block, 1);
        }
        assert!(matches!(bench.fetch(5), Err(Error::Io { .. })));
        assert_eq!(cipher.opens(), u64::from(BLOCKS) - 1);
        bench.disk.heal();
        assert_is(&bench.fetch(5).unwrap().read(), 5, 1);
    });
}

#[test]
fn c10_a_codec_that_panics_over_half_opened_bytes_fails_that_read_alone() {
    with_each_method(|method| {
        let (bench, cipher) = bench(method, 8);
        for as_task in [false, true] {
            cipher.0.panics.store(true, Ordering::SeqCst);
            let end = outcome(fetch_apart(&bench.pool, bench.page(3), as_task));
            assert!(matches!(end, Err(Error::Panicked { .. })), "{end:?}");
            bench.assert_at_rest();
            assert_eq!(bench.pool.stats().frames.resident, 0);
            cipher.0.panics.store(false, Ordering::SeqCst);
            assert_is(&bench.fetch(3).unwrap().read(), 3, 1);
            bench.pool.evict(bench.page(3)).wait().unwrap();
        }
    });
}

/// A recovery that asks the codec which pages are whole: it opens a copy, and what lies in the file stays sealed.
#[test]
fn c9_recovery_leaves_pages_sealed_and_puts_sealed_copies_back() {
    let pool_on = |disk: &SimDisk, method: IoMethod| -> BufferPool {
        let builder = BufferPool::builder().frames(32).page_size(PAGE as u32).io_method(method);
        let area = TornPages::DoubleWrite(DoubleWriteArea::new("area").bytes(0));
        builder.codec(Cipher::default()).torn_pages(area).storage(disk.clone()).build().unwrap()
    };
    let open = |pool: &BufferPool| -> FileId {
        pool.open_file("sealed", OpenOptions::new().create(true).tag(TAG)).unwrap()
    };
    with_each_method(move |method| {
        let disk = SimDisk::new();
        let pool = pool_on(&disk, method.clone());
        let file = open(&pool);
        pool.extend(file, NonZeroU32::new(3).unwrap()).wait().unwrap();
        for (block, version) in [(0_u32, 2), (1, 2), (0, 3), (2, 2)] {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            page.write().unwrap().copy_from_slice(&stamped(block, version));
            pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        }
        let disk = disk.after_power_cut(0);
        let (area, sealed) = (disk.image("area").unwrap(), disk.image("sealed").unwrap());
        let header = |copy: &[u8]| area.chunks(PAGE).position(|unit| unit == copy).expect("a copy") - 1;
        // The record with the newest copy of block 0, so that it is in doubt whether that page is whole.
        let record = header(&sealed[..PAGE]);
        for is_torn in [false, true] {
            let disk = disk.after_kill(0);
            let (mut area, mut sealed) = (area.clone(), sealed.clone());
            area[(record + 1) * PAGE + 700] ^= 4;
            if is_torn {
                sealed[PAGE..PAGE + 512].fill(0);
            }
            disk.put("area", area);
            disk.put("sealed", sealed);
            let pool = pool_on(&disk, method.clone());
            let file = open(&pool);
            assert_eq!(pool.stats().counts.pages_restored, u64::from(is_torn));
            for (block, version) in [(0_u32, 3), (1, 2), (2, 2)] {
                assert_is(&pool.fetch(PageId::new(file, block)).wait().unwrap().read(), block, version);
            }
        }
    });
}

#[test]
fn c9_a_page_that_was_moved_or_is_of_another_file_is_refused() {
    guarded(|| {
        let (bench, cipher) = bench(IoMethod::Sync, 8);
        damage(&bench, |file| {
            file.copy_within(5 * PAGE..6 * PAGE, 3 * PAGE);
            let mut other = stamped(4, 1);
            cipher.seal(PageAddress::new(TAG + 1, 4), &mut other);
            file[4 * PAGE..5 * PAGE].copy_from_slice(&other);
        });
        for block in [3, 4] {
            assert!(matches!(bench.fetch(block), Err(Error::Corrupt { .. })), "block {block}");
        }
    });
}
