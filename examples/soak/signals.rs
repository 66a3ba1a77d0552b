//! Signals to every thread of this process, as a profiler sends them.

use std::{fs, io, ptr, thread, time::Duration};

/// The time from one signal of a thread to the next.
const INTERVAL: Duration = Duration::from_millis(1);

const SIGNAL: libc::c_int = libc::SIGUSR1;

extern "C" fn ignore(_: libc::c_int) {}

/// Installs a handler that does nothing, without `SA_RESTART`: what the signal interrupts fails with EINTR.
#[allow(unsafe_code)]
fn handle() -> io::Result<()> {
    // SAFETY: all of the struct's fields are integers or a nullable pointer, for which zeros are values.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
    // SAFETY: `action` is initialised, and its handler does nothing, so it is safe in any thread at any time.
    let result = unsafe { libc::sigaction(SIGNAL, &raw const action, ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends the signal to each thread again and again, as long as `goes_on`. Returns how many signals were sent.
pub(crate) fn bombard(goes_on: impl Fn() -> bool) -> io::Result<u64> {
    handle()?;
    let mut sent = 0;
    while goes_on() {
        for entry in fs::read_dir("/proc/self/task")? {
            // A thread that ended meanwhile is no error.
            if let Some(thread) = entry.ok().and_then(|entry| entry.file_name().to_str()?.parse().ok()) {
                sent += u64::from(signal(thread));
            }
        }
        thread::sleep(INTERVAL);
    }
    Ok(sent)
}

/// Sends the signal to one thread of this process. Returns whether the thread was there.
#[allow(unsafe_code)]
fn signal(thread: libc::pid_t) -> bool {
    // SAFETY: the call takes three integers and touches no memory; this process handles the signal.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, SIGNAL) };
    result == 0
}
