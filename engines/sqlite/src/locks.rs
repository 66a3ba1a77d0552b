//! SQLite's five lock levels, among the connections of one process: the pure part.
//!
//! A database has one [`LockTable`], and each connection keeps its own [`Level`]. Invariants: at most one connection is above
//! [`Level::Shared`]; while one is at [`Level::Exclusive`], it is alone; while one is at [`Level::Pending`] or above, none comes in.
//!
//! The stock VFS keeps the same rules with locks on bytes of the file, which other processes see. Here no other process has the
//! database, so the rules are a few words of memory.

/// How much a connection may do with the database.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Read.
    Shared,
    /// Read, and prepare a change.
    Reserved,
    /// Read, until the other readers have left; no reader comes in.
    Pending,
    /// Change the file.
    Exclusive,
}

impl Level {
    /// Returns the level with SQLite's number.
    #[must_use]
    pub fn of(number: i32) -> Option<Self> {
        [Self::None, Self::Shared, Self::Reserved, Self::Pending, Self::Exclusive]
            .into_iter()
            .find(|&level| level as i32 == number)
    }
}

/// The locks that all connections have on one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockTable {
    /// Connections at [`Level::Shared`] or above.
    readers: u32,
    /// The level of the one connection above [`Level::Shared`].
    above: Option<Level>,
}

impl LockTable {
    /// Raises a connection from `now` to `to`. Returns its level from now on, which is less than `to` where the lock is busy. A
    /// connection that asks for [`Level::Exclusive`] while others read is left at [`Level::Pending`].
    #[must_use]
    pub fn raise(&mut self, now: Level, to: Level) -> Level {
        if now >= to {
            return now;
        }
        let by_another = if now > Level::Shared { None } else { self.above };
        match to {
            Level::Shared => {
                if by_another >= Some(Level::Pending) {
                    return now;
                }
                self.readers += 1;
                Level::Shared
            }
            _ if now == Level::None || by_another.is_some() => now,
            Level::Exclusive if self.readers > 1 => self.set_above(Level::Pending),
            _ => self.set_above(to),
        }
    }

    fn set_above(&mut self, level: Level) -> Level {
        self.above = Some(level);
        level
    }

    /// Lowers a connection from `now` to `to`, which is [`Level::Shared`] or [`Level::None`]. Returns its level from now on.
    pub fn lower(&mut self, now: Level, to: Level) -> Level {
        if now <= to {
            return now;
        }
        if now > Level::Shared {
            self.above = None;
        }
        if to == Level::None {
            self.readers -= 1;
        }
        to
    }

    /// Returns whether a connection is at [`Level::Reserved`] or above.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.above.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Level::{Exclusive, None, Pending, Reserved, Shared};

    #[test]
    fn one_writes_while_others_read_until_it_must_be_alone() {
        let mut table = LockTable::default();
        let mut reader = table.raise(None, Shared);
        let mut writer = table.raise(None, Shared);
        writer = table.raise(writer, Reserved);
        assert_eq!((reader, writer), (Shared, Reserved));
        assert_eq!(table.raise(reader, Reserved), Shared, "there is one already");
        assert_eq!(table.raise(None, Shared), Shared, "reading goes on");
        table.lower(Shared, None);

        writer = table.raise(writer, Exclusive);
        assert_eq!(writer, Pending, "a reader is left");
        assert_eq!(table.raise(None, Shared), None, "and no other comes in");
        reader = table.lower(reader, None);
        assert_eq!((reader, table.raise(writer, Exclusive)), (None, Exclusive));
        assert_eq!(table.raise(None, Shared), None);
        assert_eq!(table.lower(Exclusive, Shared), Shared);
        assert!(!table.is_reserved());
        assert_eq!(table.raise(None, Shared), Shared);
    }

    #[test]
    fn a_reader_that_finds_a_hot_journal_becomes_exclusive_at_once_or_not_at_all() {
        let mut table = LockTable::default();
        let first = table.raise(None, Shared);
        assert_eq!(table.raise(first, Exclusive), Exclusive);
        assert_eq!(table.lower(Exclusive, None), None);
        assert_eq!(table, LockTable::default());

        let (first, second) = (table.raise(None, Shared), table.raise(None, Shared));
        assert_eq!(table.raise(first, Reserved), Reserved);
        assert_eq!(table.raise(second, Exclusive), Shared, "another prepares a change");
    }

    /// Holds the table against the rules as SQLite states them, for every order of steps of three connections.
    #[test]
    fn no_order_of_steps_breaks_the_rules() {
        let mut seen = std::collections::HashSet::new();
        let mut open = vec![(LockTable::default(), [None; 3])];
        while let Some((table, levels)) = open.pop() {
            if !seen.insert((format!("{table:?}"), levels.map(|level| level as u8))) {
                continue;
            }
            let above = levels.iter().filter(|&&level| level > Shared).count();
            let reading = levels.iter().filter(|&&level| level > None).count();
            assert!(above <= 1, "{levels:?}");
            assert!(!levels.contains(&Exclusive) || reading == 1, "{levels:?}");
            assert_eq!(table.is_reserved(), above == 1);
            for connection in 0..3 {
                for to in [None, Shared, Reserved, Exclusive] {
                    let (mut table, mut levels) = (table.clone(), levels);
                    let before = levels[connection];
                    if to > Shared && to < before {
                        continue; // SQLite never asks for that.
                    }
                    levels[connection] =
                        if to > before { table.raise(before, to) } else { table.lower(before, to) };
                    if before == None && levels[connection] == Shared {
                        assert!(!levels.contains(&Pending) && !levels.contains(&Exclusive), "{levels:?}");
                    }
                    open.push((table, levels));
                }
            }
        }
        assert!(seen.len() > 20, "a test of nothing");
    }
}
