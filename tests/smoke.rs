use ringpool::*;
use std::num::NonZeroU32;
#[test]
fn smoke() {
    for method in [IoMethod::Auto, IoMethod::worker(), IoMethod::Sync] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let pool = BufferPool::builder().frames(16).io_method(method.clone()).build().unwrap();
        let file = pool.open_file(dir.path().join("f"), OpenOptions::new().create(true)).unwrap();
        let ext = pool.extend(file, NonZeroU32::new(100).unwrap()).wait().unwrap();
        assert_eq!(ext.first, BlockNo(0));
        for b in 0..100u32 {
            let p = pool.fetch(PageId::new(file, b)).wait().unwrap();
            let mut w = p.write().unwrap();
            w.fill(b as u8);
        }
        let r = pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        println!("{r:?}");
        println!("{:?}", pool.prefetch(file, 0..100u32));
        for b in 0..100u32 {
            let p = if b % 2 == 0 {
                pool.fetch(PageId::new(file, b)).wait().unwrap()
            } else {
                pollster::block_on(pool.fetch(PageId::new(file, b))).unwrap()
            };
            assert!(p.read().iter().all(|&x| x == b as u8), "{b}");
        }
        pool.truncate(file, 50).wait().unwrap();
        assert!(matches!(pool.fetch(PageId::new(file, 50)).wait(), Err(Error::PastEof { .. })));
        println!("{}", pool.stats());
        pollster::block_on(pool.close_file(file)).unwrap();
        pool.shutdown(Shutdown::Flush).unwrap();
    }
}
