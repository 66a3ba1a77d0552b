//! The io_uring method: worker threads that own a ring each, and all other threads hand them operations.
//!
//! From the bottom up: [`setup`] makes a ring and finds out what it can do; [`submission`] says what the kernel is told of an
//! operation, and which completion is whose, [`registered_files`] by what name a file goes; [`ring`] keeps what is in flight, and turns
//! operations into submissions and completions into outcomes; [`trouble`] says what a failed call means; [`doorbell`] wakes the
//! worker; [`run_loop`] is what its thread does all day; [`worker`] is that thread as others
//! see it, from the set-up of its ring to its end, of which the [`witness`] tells;
//! [`method`] is the workers together, and the threads beside them.
//! `unsafe` is in `setup` (registering memory), `ring` (lending memory to the kernel) and nowhere else.

mod doorbell;
mod method;
#[cfg(test)]
mod refusals;
mod registered_files;
mod ring;
mod run_loop;
mod setup;
mod submission;
#[cfg(test)]
mod tests;
mod trouble;
mod witness;
mod worker;

pub(super) use method::Uring;
pub(super) use setup::Refusal;
