//! C7: every I/O method gives the same results. What was asked for, what is in use and why, can be read from the stats.

use std::{fs, num::NonZeroU32};

use ringpool::{
    BufferPool, CheckpointOptions, IoMethod, OpenOptions, PageId,
    options::Fallback,
    stats::{MethodKind, Registration},
};

use crate::support::{assert_at_rest, guarded, methods, restamp, stamped_file};

#[test]
fn c7_the_stats_say_what_was_asked_for_what_is_in_use_and_why() {
    guarded(|| {
        for method in methods() {
            let pool = BufferPool::builder().frames(4).io_method(method.clone()).build().unwrap();
            let report = pool.stats().method;
            let (kind, name) = match &method {
                IoMethod::Sync => (MethodKind::Sync, "sync"),
                IoMethod::Worker { .. } => (MethodKind::Worker, "worker"),
                _ => (MethodKind::Uring, "io_uring"),
            };
            assert_eq!((report.in_use, &report.asked, &report.reason), (kind, &method, &None));
            assert_eq!(report.fixed_buffers == Registration::NotApplicable, kind != MethodKind::Uring);
            let text = pool.stats().to_string();
            assert!(text.starts_with(&format!("method: {name} (asked for {method}")), "{text}");
        }
    });
}

#[test]
fn c7_auto_takes_the_best_or_keeps_the_reason() {
    guarded(|| {
        let pool = BufferPool::builder().frames(4).build().unwrap();
        let report = pool.stats().method;
        assert_eq!(report.asked, IoMethod::Auto);
        let ring_works = methods().contains(&IoMethod::uring());
        println!("{report}");
        match (report.in_use, &report.reason) {
            (MethodKind::Uring, None) => {}
            // The limit on locked memory counts rings that the kernel has yet to take down: one is refused, and the next is not.
            (MethodKind::Worker | MethodKind::Sync, Some(reason)) => {
                assert!(!ring_works || reason.contains("RLIMIT_MEMLOCK"), "{reason}");
            }
            _ => panic!("{report:?}"),
        }
    });
}

/// What a caller can see of a run.
#[derive(Debug, PartialEq)]
struct Seen {
    read: Vec<u8>,
    left_in_the_file: Vec<u8>,
    answers: Vec<String>,
}

/// Does a little of everything, the same for every method; returns what was seen.
fn play(method: IoMethod, direct: Fallback, frames: u32) -> Seen {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    fs::write(&path, &stamped_file(40, 1)[..39 * 8192 + 5000]).unwrap();
    let pool = BufferPool::builder().frames(frames).io_method(method).build().unwrap();
    let mut file = pool.open_file(&path, OpenOptions::new().direct(direct)).unwrap();
    let (mut read, mut answers) = (Vec::new(), Vec::new());
    for n in 0_u32..400 {
        let block = n.wrapping_mul(2_654_435_761) >> 7;
        let blocks = pool.blocks(file).unwrap();
        let page = PageId::new(file, block % (blocks + 2));
        match n % 20 {
            3 => drop(pool.prefetch(file.pages(page.block.0..page.block.0 + 6))),
            7 => answers.push(format!("{:?}", pool.evict(page).wait())),
            11 => {
                answers.push(format!("{:?}", pool.extend(file, NonZeroU32::new(1 + n % 3).unwrap()).wait()));
            }
            13 => answers.push(format!("{:?}", pool.truncate(file, blocks - 1).wait())),
            17 => answers.push(format!("{:?}", pool.flush(page).wait())),
            19 if n % 100 == 99 => {
                pool.close_file(file).wait().unwrap();
                file = pool.open_file(&path, OpenOptions::new().direct(direct)).unwrap();
            }
            19 => {
                pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
            }
            _ => match pool.fetch(page).wait() {
                Ok(page) if n % 2 == 0 => restamp(&page, (n % 256) as u8),
                Ok(page) => read.extend_from_slice(&page.read()),
                Err(error) => answers.push(error.to_string()),
            },
        }
    }
    assert_at_rest(&pool);
    pool.shutdown(ringpool::Shutdown::Flush).unwrap();
    Seen { read, left_in_the_file: fs::read(path).unwrap(), answers }
}

#[test]
fn c7_every_method_gives_the_same_bytes_and_answers() {
    guarded(|| {
        for frames in [1, 8, 64] {
            let reference = play(IoMethod::Sync, Fallback::Off, frames);
            assert!(reference.read.len() > 50 * 8192 && reference.answers.len() > 50);
            for method in methods() {
                for direct in [Fallback::Off, Fallback::Prefer] {
                    println!("{frames} frames, {method:?}, direct {direct:?}");
                    let seen = play(method.clone(), direct, frames);
                    // Whether a page is resident may differ, since reads ahead may end at any time.
                    let told = |seen: &Seen| {
                        let answers = seen.answers.iter();
                        answers
                            .filter(|answer| !answer.starts_with("Ok(Yes") && !answer.starts_with("Ok(Not"))
                            // Each run has a folder of its own.
                            .map(|answer| {
                                answer.split(' ').filter(|word| !word.contains('/')).collect::<String>()
                            })
                            .collect::<Vec<_>>()
                    };
                    assert_eq!(told(&seen), told(&reference));
                    assert!(seen.read == reference.read, "what was read differs");
                    assert!(seen.left_in_the_file == reference.left_in_the_file, "what was written differs");
                }
            }
        }
    });
}
