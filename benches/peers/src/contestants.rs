//! The arms that take part, with how many pages of which size.

use lab::{Result, floor::Floor};

use crate::{
    memory,
    peers::{
        Dash, Fetch, FetchMany, Foyer, Hint, Moka, PAGE_DB_PAGE_SIZE, PageDb, Peer, QuickCache,
        Resident, Sharded, View, shared_pages,
    },
};

/// The floor and all arms compared with it, each with the same number of pages.
pub(crate) struct Contestants {
    pub(crate) pages: u32,
    pub(crate) page_size: u32,
    pub(crate) floor: Floor,
    peers: Vec<(&'static str, Box<dyn Peer>)>,
}

impl Contestants {
    /// Makes all of them at once, with pages as large as memory allows. A hit looks at the first bytes of a page only.
    pub(crate) fn new(pages: u32) -> Result<Self> {
        // Floor, ringpool and the counted pages; page-db's, whose alignment costs as much again; a quarter for the tables.
        let needed =
            |page_size: u32| u64::from(pages) * u64::from(3 * page_size + 2 * PAGE_DB_PAGE_SIZE) / 4 * 5;
        let page_size = [8192, 4096, 2048, 1024, 512]
            .into_iter()
            .find(|&size| memory::has_room_for(needed(size)))
            .ok_or("not enough memory")?;
        let pool = Resident::new(pages, page_size)?;
        let shared = shared_pages(pages, page_size);
        let peers: Vec<(_, Box<dyn Peer>)> = vec![
            ("ringpool, view", Box::new(View(pool.clone()))),
            ("ringpool, fetch and read", Box::new(Fetch(pool.clone()))),
            ("ringpool, hint", Box::new(Hint(pool.clone()))),
            ("ringpool, fetch_many of 16", Box::new(FetchMany(pool))),
            ("sharded table", Box::new(Sharded::new(&shared))),
            ("DashMap", Box::new(Dash::new(&shared))),
            ("quick_cache", Box::new(QuickCache::new(&shared))),
            ("moka", Box::new(Moka::new(&shared))),
            ("foyer", Box::new(Foyer::new(&shared))),
            ("page-db", Box::new(PageDb::new(pages)?)),
        ];
        Ok(Self { pages, page_size, floor: Floor::new(pages, page_size, 1)?, peers })
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = (&'static str, &dyn Peer)> {
        self.peers.iter().map(|(name, peer)| (*name, &**peer))
    }
}
