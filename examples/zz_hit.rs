//! tmp
use ringpool::*;
use std::{hint::black_box, num::NonZeroU32, time::Instant};
fn main() {
    let n: u32 = std::env::args().nth(1).map_or(1 << 16, |s| s.parse().unwrap());
    let pool = BufferPool::builder().frames(n + n / 16).page_size(4096).build().unwrap();
    let f = tempfile::NamedTempFile::new().unwrap();
    f.as_file().set_len(n as u64 * 4096).unwrap();
    let file = pool.open_file(f.path(), OpenOptions::new().read_only(true)).unwrap();
    for b in 0..n { if b % 256 == 0 { pool.prefetch(file, b..(b + 256).min(n)); } pool.fetch(PageId::new(file, b)).wait().unwrap(); }
    let mut x = 88172645463325252u64;
    let order: Vec<u32> = (0..4_000_000).map(|_| { x ^= x << 13; x ^= x >> 7; x ^= x << 17; (x % n as u64) as u32 }).collect();
    for _ in 0..3 {
        let t = Instant::now();
        let mut s = 0u64;
        for &b in &order {
            let p = pool.fetch(PageId::new(file, b)).wait().unwrap();
            s = s.wrapping_add(u64::from_ne_bytes(*p.read().first_chunk().unwrap()));
        }
        black_box(s);
        println!("{:.1} ns fetch+read", t.elapsed().as_nanos() as f64 / order.len() as f64);
        let t = Instant::now();
        for &b in &order { black_box(pool.try_fetch(PageId::new(file, b)).is_some()); }
        println!("{:.1} ns try_fetch", t.elapsed().as_nanos() as f64 / order.len() as f64);
    }
    let _ = NonZeroU32::new(1);
}
