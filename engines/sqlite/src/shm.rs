//! The WAL-index: memory that the connections of one database share, and eight locks on it.
//!
//! The stock VFS maps a file for it. Here all connections are of one process, so it is memory of the process, gone with the last
//! connection; SQLite then makes it anew from the log. SQLite orders its own accesses to the memory, by the locks and by
//! [`barriers`](crate::ffi::shm_memory).
//!
//! Invariants: a lock has one exclusive holder or any number of shared ones; a connection asks for shared locks one at a time.

use crate::ffi::shm_memory::Region;

/// The number of locks.
pub const LOCKS: usize = 8;

/// What one connection has locked, as bits.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    shared: u8,
    exclusive: u8,
}

impl Held {
    fn has(self, mask: u8) -> bool {
        (self.shared | self.exclusive) & mask != 0
    }
}

/// How a lock is wanted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// With others that read.
    Shared,
    /// Alone.
    Exclusive,
}

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
struct Lock {
    shared: u32,
    exclusive: bool,
}

/// The memory and its locks.
#[derive(Debug, Default)]
pub struct WalIndex {
    locks: [Lock; LOCKS],
    regions: Vec<Region>,
    connections: usize,
}

fn mask(first: usize, count: usize) -> u8 {
    (first..first + count).fold(0, |mask, lock| mask | 1 << lock)
}

impl WalIndex {
    /// Notes one more connection.
    pub fn join(&mut self) {
        self.connections += 1;
    }

    /// Releases what a connection has locked, and frees the memory with the last one.
    pub fn leave(&mut self, held: Held) {
        for lock in 0..LOCKS {
            self.unlock(held, lock, 1);
        }
        self.connections -= 1;
        if self.connections == 0 {
            *self = Self::default();
        }
    }

    /// Returns the address of a region of so many bytes, zeroed at first; `None` if it is not there and is not to be added.
    pub fn region(&mut self, number: usize, bytes: usize, add: bool) -> Option<*mut u8> {
        while add && self.regions.len() <= number {
            self.regions.push(Region::zeroed(bytes));
        }
        self.regions.get(number).map(Region::address)
    }

    /// Takes locks. Returns what the connection has from now on; `None` if one of them is busy, with nothing changed.
    #[must_use]
    pub fn lock(&mut self, held: Held, first: usize, count: usize, want: Want) -> Option<Held> {
        let wanted = mask(first, count);
        let locks = &mut self.locks[first..first + count];
        match want {
            Want::Shared if held.has(wanted) => Some(held),
            Want::Shared if locks.iter().any(|lock| lock.exclusive) => None,
            Want::Exclusive if locks.iter().any(|lock| lock.exclusive || lock.shared > 0) => None,
            Want::Shared => {
                locks.iter_mut().for_each(|lock| lock.shared += 1);
                Some(Held { shared: held.shared | wanted, ..held })
            }
            Want::Exclusive => {
                locks.iter_mut().for_each(|lock| lock.exclusive = true);
                Some(Held { exclusive: held.exclusive | wanted, ..held })
            }
        }
    }

    /// Releases locks, those that the connection has. Returns what it has from now on.
    pub fn unlock(&mut self, held: Held, first: usize, count: usize) -> Held {
        for at in first..first + count {
            let bit = mask(at, 1);
            if held.exclusive & bit != 0 {
                self.locks[at].exclusive = false;
            } else if held.shared & bit != 0 {
                self.locks[at].shared -= 1;
            }
        }
        let wanted = mask(first, count);
        Held { shared: held.shared & !wanted, exclusive: held.exclusive & !wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_readers_or_one_writer() {
        let mut index = WalIndex::default();
        let none = Held::default();
        let first = index.lock(none, 3, 1, Want::Shared).unwrap();
        let second = index.lock(none, 3, 1, Want::Shared).unwrap();
        assert_eq!(index.lock(none, 2, 3, Want::Exclusive), None, "one of the three is read");
        assert_eq!(index.lock(none, 2, 1, Want::Exclusive).unwrap().exclusive, 0b100);
        assert_eq!(index.lock(first, 3, 1, Want::Exclusive), None, "its own reading too");
        index.unlock(first, 3, 1);
        assert_eq!(index.lock(none, 3, 1, Want::Exclusive), None);
        assert_eq!(index.unlock(second, 3, 1), none);
        let writer = index.lock(none, 3, 2, Want::Exclusive).unwrap();
        assert_eq!(index.lock(none, 4, 1, Want::Shared), None);
        assert_eq!(index.lock(writer, 4, 1, Want::Shared), Some(writer), "it has it already");
        assert_eq!(index.unlock(writer, 3, 2), none);
        assert!(index.lock(none, 4, 1, Want::Shared).is_some());
    }

    #[test]
    fn a_connection_that_leaves_takes_its_locks_along_and_the_last_one_the_memory() {
        let mut index = WalIndex::default();
        index.join();
        index.join();
        let held = index.lock(Held::default(), 0, 8, Want::Exclusive).unwrap();
        let region = index.region(1, 1 << 15, true).unwrap();
        assert_eq!(index.region(1, 1 << 15, false), Some(region));
        assert_eq!(index.region(2, 1 << 15, false), None);
        index.leave(held);
        assert!(index.lock(Held::default(), 0, 8, Want::Exclusive).is_some());
        index.leave(Held::default());
        assert_eq!(index.region(0, 1 << 15, false), None);
    }
}
