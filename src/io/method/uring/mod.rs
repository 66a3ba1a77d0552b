//! The io_uring method: worker threads that own a ring each, and everybody else hands them requests.
//!
//! From the bottom up: [`setup`] makes a ring and finds out what it can do; [`slots`] keeps what is in flight; [`ring`]
//! turns requests into submissions and completions into outcomes; [`trouble`] says what a failed call means; [`doorbell`] wakes the
//! worker; [`run_loop`] is what its thread does all day, at the [`depth`] that the device gains from; [`worker`] is that thread as others
//! see it, from the set-up of its ring to its end, of which the [`witness`] tells;
//! [`method`] is the workers together, and the threads beside them.
//! `unsafe` is in `setup` (registering memory), `slots` and `ring` (lending memory to the kernel) and nowhere else.

mod depth;
mod doorbell;
mod method;
#[cfg(test)]
mod refusals;
mod ring;
mod run_loop;
mod setup;
mod slots;
#[cfg(test)]
mod tests;
mod trouble;
mod witness;
mod worker;

pub(super) use method::Uring;
pub(super) use setup::Refusal;
