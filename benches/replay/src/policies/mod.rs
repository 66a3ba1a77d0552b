//! The policies of the literature: small, plain, and as their papers have them.

mod arc;
mod clock;
mod lru;
mod queue;
mod s3_fifo;
mod sieve;
mod two_q;

use self::{arc::Arc, clock::Clock, lru::Lru, s3_fifo::S3Fifo, sieve::Sieve, two_q::TwoQ};

/// A pool of some frames, as far as it matters which pages it keeps.
pub trait Policy {
    /// Uses the page. Returns whether it was there; it is from here on.
    fn access(&mut self, page: u64) -> bool;
}

/// A policy by name, and how to make a pool that follows it.
#[derive(Copy, Clone, Debug)]
pub struct Candidate {
    /// What it is called.
    pub name: &'static str,
    /// Makes an empty pool of this number of frames.
    pub build: fn(usize) -> Box<dyn Policy>,
}

/// The policies with which ringpool's is compared.
pub const PUBLISHED: [Candidate; 6] = [
    Candidate { name: "LRU", build: |frames| Box::new(Lru::new(frames)) },
    Candidate { name: "clock", build: |frames| Box::new(Clock::new(frames)) },
    Candidate { name: "2Q", build: |frames| Box::new(TwoQ::new(frames)) },
    Candidate { name: "ARC", build: |frames| Box::new(Arc::new(frames)) },
    Candidate { name: "S3-FIFO", build: |frames| Box::new(S3Fifo::new(frames)) },
    Candidate { name: "SIEVE", build: |frames| Box::new(Sieve::new(frames)) },
];
