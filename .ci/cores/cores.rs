//! The pure cores of the library and the leaves below them, without anything else: a mutant of one of them is built and tested in
//! seconds here. That it builds shows that they are what they say, decisions without I/O.

#![allow(dead_code, unused_imports)]

#[macro_use]
mod sync;

mod codec;
mod error;
mod events;
mod id;
mod observe;
mod wal;

mod buffer {
    mod frame {
        pub(crate) mod state;
    }
}

mod io {
    mod buffers;
    mod transfer;

    mod doublewrite {
        mod layout;
    }

    mod file {
        mod atomic_writes;
        mod growth;
    }
}

mod read {
    mod stream {
        mod distance;
    }
}

mod runtime {
    /// All that the target of clean frames knows of the options.
    pub(crate) mod config {
        #[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Marks {
            pub(crate) low: usize,
            pub(crate) high: usize,
        }
    }
}

mod write {
    mod clean_target;
    mod schedule;
}
