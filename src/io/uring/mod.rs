//! The io_uring method: worker threads that own a ring each, and everybody else hands them requests.
//!
//! From the bottom up: [`setup`] makes a ring and finds out what it can do; [`slots`] keeps what is in flight; [`ring`]
//! turns requests into submissions and completions into outcomes; [`doorbell`] wakes the worker; [`service`] is what its thread does all
//! day, at the [`pace`] that the device gains from; [`worker`] is that thread as others see it;
//! [`method`] is the workers together, and the threads beside them.
//! `unsafe` is in `setup` (registering memory), `slots` and `ring` (lending memory to the kernel) and nowhere else.

mod doorbell;
mod method;
mod pace;
mod ring;
mod service;
mod setup;
mod slots;
mod worker;

pub(super) use method::Uring;
pub(super) use setup::Refusal;
