//! The io_uring method: worker threads that own a ring each, and all other threads hand them operations.
//!
//! From the bottom up: [`setup`] makes a ring; [`ring`] has what is in flight in it; [`trouble`] says what a failed call means; [`worker`]
//! is the thread that owns a ring, of whose end the [`witness`] tells; [`method`] is all workers and the threads beside them. `unsafe` is in
//! `setup` (registering memory), `ring` (lending memory to the kernel) and nowhere else.

mod method;
mod ring;
mod setup;
#[cfg(test)]
mod tests;
mod trouble;
mod witness;
mod worker;

pub(super) use method::Uring;
