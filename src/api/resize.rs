//! Changing the number of frames while other threads use them.
//!
//! *Growing*: the memory is taken and faulted in, then registered with the I/O method, and then the frames are handed out. So no
//! thread ever has a frame whose memory a ring does not know. If a step fails, what was taken is given back.
//!
//! *Shrinking* goes the other way. First the dirty pages of the frames to be removed are written, and their transfers waited for, while all of
//! them serve: a file whose disk does not answer takes no frame from other files. Then these frames get no new pages; their pages are found and
//! used as before, until no thread uses them. If the disk still has some of them after a while, all are put back, and shrinking begins again,
//! with more patience. When the last frame is retired, the kernel is told to unregister their memory, and then it is given back. If one frame
//! cannot be removed, all are put back: the pages written meanwhile make the next try shorter.
//!
//! A resize waits with no latch in hand, and for pins only for a bounded time: so a thread may shrink a pool whose pages it holds, and gets an
//! error. For the disk it waits as long as that takes.

use crate::{
    buffer::{frame::frames::Frames, resizing::Retirement, supply::shortage::Holder},
    error::{ConfigError, Error, Result},
    events::{self, spans},
    files::drop_pages::wait_for_io,
    id::FrameNo,
    io::{method::Chunk, operation::Urgency},
    runtime::shared::Shared,
    sync::{
        Arc,
        batch_status::BatchStatus,
        thread,
        time::{self, Duration},
        wait::RETRY,
    },
    write::write_out::{Candidate, Patience, write_out},
};

/// Pages that are written in one batch.
const PIECE: usize = 256;

/// Looks at the frames that are left before a pause: a page that is used all the time has moments between two uses.
const LOOKS: usize = if cfg!(shuttle) { 2 } else { 4096 };

/// How long frames may be out of service while the disk has some of them, the first time.
const DISK_PATIENCE: Duration = Duration::from_millis(50);

/// Looks, each with a pause, before a frame that cannot be retired is given up.
const LOOKS_AT_LEAST: u32 = 8;

/// What a [resize](crate::BufferPool::resize) did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResizeReport {
    /// The number of frames before.
    pub frames_before: u32,
    /// The number of frames now.
    pub frames: u32,
    /// Dirty pages that were written, since their frames were to be removed.
    pub pages_written: u64,
    /// Bytes of page memory that the pool has now.
    pub page_bytes: u64,
    /// How long it took.
    pub took: Duration,
}

pub(crate) fn resize(shared: &Shared, frames: u32) -> Result<ResizeReport> {
    let pool = &shared.counters.pool;
    let _span = spans::resize(pool, frames);
    let resized = resize_in_turn(shared, frames);
    match &resized {
        Ok(ResizeReport { frames_before, frames, pages_written, took, .. }) => {
            events::resized(pool, *frames_before, *frames, *pages_written, *took);
        }
        Err(error) => events::resize_failed(pool, frames, error),
    }
    resized
}

fn resize_in_turn(shared: &Shared, frames: u32) -> Result<ResizeReport> {
    let begun = time::now();
    let _turn = shared.resizes.take();
    shared.check_open()?;
    let (frames_before, most) = (shared.pool.size.frames(), shared.pool.size.most());
    if !(1..=most).contains(&frames) {
        let advice = format!("choose 1 to {most}, or build the pool with frames_at_most");
        return Err(ConfigError::new("frames", frames, advice).into());
    }
    let pages_written =
        if frames < frames_before { shrink(shared, frames)? } else { grow(shared, frames).map(|()| 0)? };
    // How many frames are kept ready depends on how many there are.
    shared.pool.clean_list.look_again();
    Ok(ResizeReport {
        frames_before,
        frames,
        pages_written,
        page_bytes: shared.pool.page_memory() as u64,
        took: time::now() - begun,
    })
}

fn grow(shared: &Shared, frames: u32) -> Result<()> {
    let pool = &shared.pool;
    let chunks = pool.chunks_for(pool.size.frames())..pool.chunks_for(frames);
    let fits = pool.arena.check_fits(chunks.clone()).map_err(|error| error.to_string());
    let added = fits.and_then(|()| chunks.clone().try_for_each(|number| add_memory(shared, number)));
    if let Err(reason) = added {
        give_memory_back(shared, chunks.start);
        return Err(Error::CannotGrow { frames, reason: reason.into() });
    }
    pool.call_up(frames);
    Ok(())
}

/// Takes the chunk's memory and has it registered; or returns why that failed.
fn add_memory(shared: &Shared, number: usize) -> Result<(), String> {
    let arena = &shared.pool.arena;
    // The memory is still there if the kernel did not unregister it.
    if number >= arena.present() {
        arena.take(number).map_err(|error| error.to_string())?;
    }
    if seeded!("memory_comes_unregistered") {
        return Ok(());
    }
    let registered = shared.method.set_chunk(number as u16, chunk_at_present(&shared.pool, number));
    registered.map_err(|error| format!("its memory cannot be registered: {error}; raise RLIMIT_MEMLOCK"))
}

fn shrink(shared: &Shared, frames: u32) -> Result<u64> {
    let (tally, mut patience) = (BatchStatus::new(), DISK_PATIENCE);
    loop {
        settle(shared, frames, &tally)?;
        let mut going = Retirement::begin(&shared.pool, frames);
        if retire_all(shared, &mut going, patience, &tally)? {
            let pages_written = tally.wait()?;
            going.complete();
            give_memory_back(shared, shared.pool.chunks_for(frames));
            return Ok(pages_written);
        }
        // The disk has some of them: all of them serve until it has finished. A slow disk gets more time in the next round.
        patience *= 2;
    }
}

/// Starts writing the dirty frames from this number on, and waits for that and for all other transfers of these frames. They serve
/// meanwhile, and may be read into and changed again.
fn settle(shared: &Shared, frames: u32, tally: &Arc<BatchStatus>) -> Result<()> {
    let going: Vec<FrameNo> = (frames..shared.pool.size.frames()).map(FrameNo).collect();
    write_dirty(shared, &going, tally);
    tally.wait()?;
    for &no in &going {
        let frame = shared.pool.frame(no);
        if Holder::of(frame.state.load()) == Holder::Disk {
            wait_for_io(shared, no, frame.page());
        }
    }
    Ok(())
}

/// Retires all frames that are to be removed, with their changes written. Returns false if the disk has some of them and none was
/// retired for the time of `patience`.
fn retire_all(
    shared: &Shared,
    going: &mut Retirement<'_>,
    patience: Duration,
    tally: &Arc<BatchStatus>,
) -> Result<bool> {
    let limit = shared.config.frame_wait;
    // How long pins and latches, and the disk, have stood in the way since the last frame was retired.
    let (mut users, mut disk) = (Duration::ZERO, Duration::ZERO);
    loop {
        let begun = time::now();
        let mut retired = retire_in_a_moment(going);
        write_dirty(shared, going.left(), tally);
        tally.wait_until(begun + (patience - disk));
        if let Some((_, Some(error))) = tally.outcome() {
            return Err(error);
        }
        // A page that was written is dropped now, unless it was changed meanwhile: that it was written is no progress by itself.
        retired += retire_in_a_moment(going);
        let holders = || going.left().iter().map(|&no| (no, Holder::of(shared.pool.frame(no).state.load())));
        let Some((first, _)) = holders().next() else { return Ok(true) };
        let waits_for_disk = holders().any(|(no, holder)| holder == Holder::Disk || wants_room(shared, no));
        if retired > 0 {
            (users, disk) = (Duration::ZERO, Duration::ZERO);
        } else if shared.end.has_begun() || users >= limit && !waits_for_disk {
            let pinned = holders().find(|&(_, holder)| holder == Holder::User).map_or(first, |(no, _)| no);
            let page = shared.pool.frame(pinned).page();
            return Err(Error::Pinned { page, path: shared.pool.path_of(page.file) });
        } else if waits_for_disk {
            disk += time::now() - begun;
            if disk >= patience {
                return Ok(false);
            }
            thread::park_timeout(RETRY);
        } else {
            thread::park_timeout(RETRY);
            // However long the writes took: a page that is pinned again and again gets a few looks in which it may be free.
            users += (time::now() - begun).min(limit / LOOKS_AT_LEAST);
        }
    }
}

/// Retires the frames that no thread uses now or in a moment. Returns their number.
fn retire_in_a_moment(going: &mut Retirement<'_>) -> usize {
    let mut retired = going.retire_idle();
    for _ in 0..LOOKS / going.left().len().max(1) {
        retired += going.retire_idle();
    }
    retired
}

/// Begins to write the dirty pages in these frames, except those that a thread has latched.
fn write_dirty(shared: &Shared, frames: &[FrameNo], tally: &Arc<BatchStatus>) {
    let dirty = |&no: &FrameNo| {
        let frame = shared.pool.frame(no);
        frame.state.load().is_dirty().then(|| (frame.page(), no))
    };
    let mut candidates: Vec<Candidate> = frames.iter().filter_map(dirty).collect();
    candidates.sort_unstable();
    for piece in candidates.chunks_mut(PIECE) {
        write_out(shared, piece, Urgency::Demand, &mut Patience::Try, tally);
    }
}

/// Returns whether the frame's page is dirty, and its write has to wait for the end of another for want of room for a copy.
fn wants_room(shared: &Shared, no: FrameNo) -> bool {
    let frame = shared.pool.frame(no);
    let has_room = || shared.pool.copy_room.has_room_for(frame.page().file);
    frame.state.load().is_idle_dirty() && !has_room() && !seeded!("shrink_takes_want_of_room_for_pins")
}

/// Gives the memory of the chunks from `first` on back, as far as the kernel unregisters it.
fn give_memory_back(shared: &Shared, first: usize) {
    let arena = &shared.pool.arena;
    for number in (first..arena.present()).rev() {
        let nothing = Chunk { ptr: arena.chunk(number).0, len: 0 };
        if !seeded!("memory_given_back_registered")
            && shared.method.set_chunk(number as u16, nothing).is_err()
        {
            return;
        }
        arena.give_back(number);
    }
}

/// Returns the chunk of the arena, as it is to be registered now.
pub(crate) fn chunk_at_present(frames: &Frames, number: usize) -> Chunk {
    let (ptr, len) = frames.arena.chunk(number);
    Chunk { ptr, len: if number < frames.arena.present() { len } else { 0 } }
}

#[cfg(all(test, feature = "crc32c", not(any(loom, shuttle))))]
mod tests {
    use std::thread;

    use super::*;
    use crate::{
        BufferPool, IoMethod, OpenOptions, PageId,
        buffer::frame::state::State,
        testing::{Op, SimDisk},
    };

    #[test]
    fn c6_a_shrink_whose_pages_have_no_room_for_copies_waits_for_the_disk() {
        let disk = SimDisk::new();
        disk.put("data", vec![1; 16 * 512]);
        let builder = BufferPool::builder().frames(8).page_size(512).frame_wait(Duration::from_millis(20));
        let builder = builder.codec(crate::Crc32c).storage(disk.clone());
        let pool = builder.io_method(IoMethod::Worker { threads: 8 }).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        // No two are neighbours.
        let pages: Vec<_> = (0..8).map(|block| PageId::new(file, 2 * block)).collect();
        pages.iter().for_each(|&page| pool.overwrite(page).wait().unwrap().fill(2));
        let stays =
            |page: &PageId| pool.shared().pool.find(*page, State::is_dirty).is_some_and(|no| no.index() < 3);
        let gate = disk.hold(Op::Write);
        thread::scope(|scope| {
            let pool = &pool;
            for page in pages.iter().copied().filter(stays) {
                scope.spawn(move || pool.flush(page).wait().unwrap());
            }
            gate.wait_for(3);
            let shrinking = scope.spawn(|| pool.resize(3).wait());
            // Ten times as long as it waits for pins.
            thread::sleep(Duration::from_millis(200));
            let is_waiting = !shrinking.is_finished();
            gate.open();
            let shrunk = shrinking.join().unwrap();
            assert!(is_waiting, "{shrunk:?}");
            assert_eq!(shrunk.unwrap().frames, 3);
        });
    }
}
