//! Draws the results that the engines' READMEs record, each table as one SVG beside it: `cargo run --manifest-path
//! engines/plots/Cargo.toml`.
//!
//! What is drawn is read out of the tables, so a plot and its table say the same; the tests hold that no table was changed
//! without its plot, and that `engines/README.md` repeats tables as they are.

mod bars;
mod table;

use std::{error::Error, fs, path::PathBuf};

/// A table and its plot.
struct Plot {
    /// The folder of the engine.
    engine: &'static str,
    /// The first line of the table in the engine's README.
    header: &'static str,
    title: &'static str,
    /// What the ratios are.
    below: &'static str,
}

const PLOTS: [Plot; 2] = [
    Plot {
        engine: "sqlite",
        header: "| | memory for all: cache | mapped | an eighth, bounded: cache | mapped | an eighth, direct: cache | mapped | an eighth, buffered: cache | mapped |",
        title: "SQLite: time on the pool, to time of its own VFS with as much memory",
        below: "times; to the left of 1 the pool is faster; lines are quartiles",
    },
    Plot {
        engine: "diskann",
        header: "| | queries alike | skewed | by cluster | by cluster, skewed |",
        title: "DiskANN: queries a second through the pool, to its own reader's",
        below: "times; to the right of 1 the pool is faster",
    },
];

/// The file of a plot, in its engine's folder.
const FILE: &str = "results.svg";

impl Plot {
    fn path(&self, file: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "..", self.engine, file].iter().collect()
    }

    fn draw(&self) -> Result<String, Box<dyn Error>> {
        let rows = table::rows(&fs::read_to_string(self.path("README.md"))?, self.header)?;
        Ok(bars::draw(self.title, self.below, &rows))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    for plot in PLOTS {
        fs::write(plot.path(FILE), plot.draw()?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plot_shows_its_table() {
        for plot in PLOTS {
            let drawn = fs::read_to_string(plot.path(FILE)).unwrap_or_default();
            let fresh = drawn == plot.draw().unwrap();
            assert!(fresh, "{}: cargo run --manifest-path engines/plots/Cargo.toml", plot.engine);
        }
    }

    #[test]
    fn a_table_that_stands_twice_is_the_same() {
        let all = fs::read_to_string(PLOTS[0].path("../README.md")).unwrap();
        for plot in PLOTS.iter().filter(|plot| all.contains(plot.header)) {
            let own = fs::read_to_string(plot.path("README.md")).unwrap();
            assert_eq!(table::rows(&all, plot.header), table::rows(&own, plot.header), "{}", plot.engine);
        }
        assert!(all.contains(PLOTS[1].header), "the results of DiskANN");
    }
}
