//! The io_uring method: worker threads that own a ring each, and all other threads hand them operations.
//!
//! From the bottom up: [`setup`] makes a ring and finds out what it can do; [`ring`] keeps what is in flight, turns operations into
//! submissions and completions into outcomes, and has the wake event that wakes the worker; [`trouble`] says what a failed call means;
//! [`worker`] is the thread that owns a ring, from its set-up to its end, of which the [`witness`] tells; [`method`] is the workers
//! together, as other threads see them, and the threads beside them. `unsafe` is in `setup` (registering memory), `ring` (lending
//! memory to the kernel) and nowhere else.

mod method;
mod ring;
mod setup;
#[cfg(test)]
mod tests;
mod trouble;
mod witness;
mod worker;

pub(super) use method::Uring;
