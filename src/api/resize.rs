//! Changing the number of frames while others work with them.
//!
//! *Growing*: memory is taken and faulted in, then registered with the I/O method, and then the frames are handed out. So nobody ever
//! has a frame whose memory a ring does not know. What is refused on the way is given back, and the pool is as it was.
//!
//! *Shrinking* goes the other way. First the dirty pages of the frames that are to go are written, and what the disk has of them is
//! waited for, while all of them serve: a file whose disk does not answer takes no frame from others. Then they get no new pages;
//! their pages are found and used as before. Clean ones that nobody uses go at once, those that were changed meanwhile are written, pins
//! are waited for. Should the disk not be through with some of them after a while, all are put back, and it begins again, with more
//! patience. When the last frame is retired, no pin, latch or I/O is left on any of them: then the kernel is told to let go of their memory, and then it is given back.
//! Where one cannot go all are put back: the pool keeps the size that it had, so that its owner knows it, and what was written
//! meanwhile makes the next try shorter.
//!
//! Resizes take turns. Nothing is waited for with a latch in hand, and pins only for a bounded time: so a thread may shrink a pool
//! whose pages it holds, and gets an error. The disk is waited for as long as it takes: only time in which it has none of the frames
//! that are left counts.

use crate::{
    buffer::{
        frame::{frames::Frames, waiters::want::Want},
        resizing::Retirement,
        supply::shortage::Holder,
    },
    error::{ConfigError, Error, Result},
    events::{self, spans},
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

/// Pages that are written in one go.
const PIECE: usize = 256;

/// Looks at the frames that are left before a pause: a page that is used all the time has moments between two uses.
const LOOKS: usize = if cfg!(shuttle) { 2 } else { 4096 };

/// How long frames may be out of service while the disk has some of them, the first time.
const DISK_PATIENCE: Duration = Duration::from_millis(50);

/// Looks, with as many pauses, before a frame that cannot go is given up.
const LOOKS_AT_LEAST: u32 = 8;

/// What a [resize](crate::BufferPool::resize) did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResizeReport {
    /// How many frames there were.
    pub frames_before: u32,
    /// How many there are now.
    pub frames: u32,
    /// Dirty pages that were written, since their frames were to go.
    pub pages_written: u64,
    /// Bytes of page memory that the pool has now.
    pub page_bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// Gives the pool so many frames.
pub(crate) fn resize(shared: &Shared, frames: u32) -> Result<ResizeReport> {
    let pool = &shared.counters.pool;
    let _span = spans::resize(pool, frames);
    let resized = resize_in_turn(shared, frames);
    match &resized {
        Ok(ResizeReport { frames_before, frames, pages_written, took, .. }) => {
            events::resized(pool, *frames_before, *frames, *pages_written, events::seconds(*took));
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
    let fits = pool.arena().check_fits(chunks.clone()).map_err(|error| error.to_string());
    let added = fits.and_then(|()| chunks.clone().try_for_each(|number| add_memory(shared, number)));
    if let Err(reason) = added {
        give_memory_back(shared, chunks.start);
        return Err(Error::CannotGrow { frames, reason: reason.into() });
    }
    pool.call_up(frames);
    Ok(())
}

/// Takes the chunk's memory and has it registered; or says why not.
fn add_memory(shared: &Shared, number: usize) -> Result<(), String> {
    let arena = shared.pool.arena();
    // It is there where the kernel would not let go of it.
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
        // The disk has some of them: they all serve until it is through. A slow disk gets more time in the next round.
        patience *= 2;
    }
}

/// Has the frames from this number on written where they are dirty, and waits for that and for what else the disk has of them. They
/// serve meanwhile, and may be read into and changed again.
fn settle(shared: &Shared, frames: u32, tally: &Arc<BatchStatus>) -> Result<()> {
    let going: Vec<FrameNo> = (frames..shared.pool.size.frames()).map(FrameNo).collect();
    write_dirty(shared, &going, tally);
    tally.wait()?;
    for &no in &going {
        let frame = shared.pool.frame(no);
        if Holder::of(frame.state.load()) == Holder::Disk
            && let Ok(pin) = shared.pool.pin_unused(no, frame.page())
        {
            pin.wait_for_io(Want::ReadDone);
            pin.wait_for_io(Want::WriteDone);
        }
    }
    Ok(())
}

/// Retires all frames that are to go, with their changes written. False where the disk has some of them and nothing has gone for as
/// long as the `patience` lasts.
fn retire_all(
    shared: &Shared,
    going: &mut Retirement<'_>,
    patience: Duration,
    tally: &Arc<BatchStatus>,
) -> Result<bool> {
    let limit = shared.config.frame_wait;
    // How long users, and the disk, have stood in the way since the last frame went.
    let (mut users, mut disk) = (Duration::ZERO, Duration::ZERO);
    loop {
        let begun = time::now();
        let mut retired = retire_in_a_moment(going);
        write_dirty(shared, going.left(), tally);
        tally.wait_until(begun + (patience - disk));
        if let Some((_, Some(error))) = tally.outcome() {
            return Err(error);
        }
        // What was written goes now, unless it was changed meanwhile: that a page was written is no progress by itself.
        retired += retire_in_a_moment(going);
        let holders = || going.left().iter().map(|&no| (no, Holder::of(shared.pool.frame(no).state.load())));
        let Some((first, _)) = holders().next() else { return Ok(true) };
        let waits_for_disk = holders().any(|(_, holder)| holder == Holder::Disk);
        if retired > 0 {
            (users, disk) = (Duration::ZERO, Duration::ZERO);
        } else if shared.end.has_begun() || users >= limit && !waits_for_disk {
            let pinned = holders().find(|&(_, holder)| holder == Holder::User).map_or(first, |(no, _)| no);
            let page = shared.pool.frame(pinned).page();
            return Err(Error::Pinned { page, path: shared.pool.file_paths.of(page.file) });
        } else if waits_for_disk {
            disk += time::now() - begun;
            if disk >= patience {
                return Ok(false);
            }
            thread::park_timeout(RETRY);
        } else {
            thread::park_timeout(RETRY);
            // However long the writes took: a page that changes hands has a few looks to be found free.
            users += (time::now() - begun).min(limit / LOOKS_AT_LEAST);
        }
    }
}

/// Retires what nobody uses now or in a moment. Gives how many frames that were.
fn retire_in_a_moment(going: &mut Retirement<'_>) -> usize {
    let mut retired = going.retire_idle();
    for _ in 0..LOOKS / going.left().len().max(1) {
        retired += going.retire_idle();
    }
    retired
}

/// Begins to write what is dirty in these frames, as far as nobody has it latched.
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

/// Gives the memory of the chunks from `first` on back, as far as the kernel lets go of it.
fn give_memory_back(shared: &Shared, first: usize) {
    let arena = shared.pool.arena();
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

/// The chunk of the arena, as it is to be registered now.
pub(crate) fn chunk_at_present(frames: &Frames, number: usize) -> Chunk {
    let (ptr, len) = frames.arena().chunk(number);
    Chunk { ptr, len: if number < frames.arena().present() { len } else { 0 } }
}
