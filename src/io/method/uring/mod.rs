//! The io_uring method: worker threads that own a ring each, and all other threads hand them operations.
//!
//! From the bottom up: [`setup`] makes a ring and finds out what it can do; [`submission`] describes an operation to the kernel,
//! and finds the operation of a completion; [`registered_files`] has the name by which a submission knows a file; [`ring`] keeps
//! what is in flight, and turns operations into submissions and completions into outcomes; [`trouble`] says what a failed call
//! means; [`doorbell`] wakes the worker; [`run_loop`] is the loop of its thread; [`worker`] is that thread as other threads see
//! it, from the set-up of its ring to its end, of which the [`witness`] tells; [`method`] is the workers together, and the
//! threads beside them. `unsafe` is in `setup` (registering memory), `ring` (lending memory to the kernel) and nowhere else.

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
