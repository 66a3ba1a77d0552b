//! The pure cores of the library and the leaves below them, without anything else: a mutant of one of them is built and tested in
//! seconds here. That it builds shows that they are what they say, decisions without I/O.

#![allow(dead_code, unused_imports)]

#[macro_use]
mod seeded;

mod codec;
mod config;
mod error;
mod id;
mod stats;
mod sync;
mod wal;

mod doublewrite {
    mod layout;
}

mod io {
    mod atomic;
    mod growth;
    mod knee;
    mod transfer;

    /// All that a transfer knows of its request.
    mod request {
        #[derive(Copy, Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Direction {
            Read,
            Write,
        }
    }
}

mod pool {
    pub(crate) mod state;
}

mod read {
    mod stream {
        mod distance;
    }
}

mod write {
    mod pace;
    mod schedule;
}
