//! A request that hangs in the kernel: what can be seen of it meanwhile.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use crate::{
    id::FileId,
    io::{
        buffers::Direction,
        file::File,
        method::{Method, choice::open_method},
        operation::{Urgency, table::Stage},
        options::{IoMethod, Scheduling},
        tests::{
            pipe_disk::{PAGE, pipe_file},
            support::{SCHEDULING, TestArena, TestLease, set_urgency, stamped},
        },
    },
    observe::Counters,
    sync::Arc,
};

/// A ring, and a file from which a read comes back when there is something in the pipe, or nothing will be any more.
struct StalledRing {
    method: Arc<dyn Method<TestLease>>,
    file: Arc<File>,
    writer: io::PipeWriter,
}

fn stalled_ring(arena: &TestArena, scheduling: &Scheduling) -> Option<StalledRing> {
    let counters = Arc::new(Counters::new());
    let Ok((method, _)) = open_method(&IoMethod::uring(), &arena.chunks(), scheduling, &counters) else {
        println!("skipped: no io_uring here");
        return None;
    };
    let (file, writer) = pipe_file(FileId(5));
    Some(StalledRing { method, file, writer })
}

/// Waits until `requests` requests of `bytes` bytes have been submitted.
fn until_submitted(arena: &TestArena, bytes: u64, requests: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while submitted(arena, bytes) < requests {
        assert!(Instant::now() < deadline, "never submitted: {:?}", arena.in_flight.list());
        std::thread::yield_now();
    }
}

fn submitted(arena: &TestArena, bytes: u64) -> usize {
    let listed = arena.in_flight.list();
    listed.iter().filter(|request| request.stage == Stage::Submitted && request.bytes == bytes).count()
}

#[test]
fn what_the_kernel_has_of_a_ring_is_shown_as_submitted() {
    let arena = TestArena::new(1 << 20);
    let Some(StalledRing { method, file, mut writer }) = stalled_ring(&arena, &SCHEDULING) else { return };
    method.submit(&mut vec![arena.request(Direction::Read, &file, 0, &[PAGE as u32])]);
    let listed = arena.in_flight.list();
    assert_eq!((listed.len(), listed[0].page.file, listed[0].bytes), (1, FileId(5), PAGE));
    until_submitted(&arena, PAGE, 1);
    writer.write_all(&stamped(PAGE as usize)).unwrap();
    arena.expect_reads(1);
    assert_eq!(arena.in_flight.list(), []);
}

#[test]
fn a_ring_has_no_more_reads_ahead_in_flight_than_it_was_told() {
    const LIMIT: usize = 2;
    const AHEAD: usize = 5;
    let arena = TestArena::new(1 << 20);
    let scheduling = Scheduling { background: LIMIT, ..SCHEDULING };
    let Some(StalledRing { method, file, writer }) = stalled_ring(&arena, &scheduling) else { return };
    let read = |bytes, urgency| {
        let mut read = arena.request(Direction::Read, &file, 0, &[bytes]);
        set_urgency(&mut read, urgency);
        read
    };
    method.submit(&mut (0..AHEAD).map(|_| read(512, Urgency::Background)).collect());
    until_submitted(&arena, 512, LIMIT);
    // By then the worker has looked at the others again.
    method.submit_one(read(1024, Urgency::Demand));
    until_submitted(&arena, 1024, 1);
    assert_eq!((submitted(&arena, 512), arena.in_flight.list().len()), (LIMIT, AHEAD + 1));
    drop(writer);
    (0..=AHEAD).for_each(|_| arena.expect(|_| 0));
}
