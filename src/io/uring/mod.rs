//! The io_uring method: one worker thread owns the ring, everybody else hands it requests.
//!
//! From the bottom up: [`setup`] makes a ring and finds out what it can do; [`slots`] keeps what is in flight; [`ring`]
//! turns requests into submissions and completions into outcomes; [`doorbell`] wakes the worker; [`worker`] is the method.
//! `unsafe` is in `setup` (registering memory), `slots` and `ring` (lending memory to the kernel) and nowhere else.

mod doorbell;
mod ring;
mod setup;
mod slots;
mod worker;

pub(super) use setup::Refusal;
pub(super) use worker::UringWorker;
