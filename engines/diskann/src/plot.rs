//! Draws the comparison: queries a second by memory, both readers side by side.

use std::{error::Error, path::Path};

use plotters::prelude::*;

/// Width and height of the picture, in pixels.
const SIZE: (u32, u32) = (720, 360);

/// What both readers did with one memory: its name, and for each the lower quartile, the median and the upper one, in queries a second.
pub struct Bars {
    pub name: String,
    pub own: [f64; 3],
    pub pool: [f64; 3],
}

/// A series: its label, its colour, where its bars begin in their group, and their values.
type Series = (&'static str, RGBColor, f64, fn(&Bars) -> [f64; 3]);

/// Writes the picture.
pub fn draw(file: &Path, title: &str, all: &[Bars]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    // Legible on a light and on a dark page.
    root.fill(&WHITE)?;
    let most = all.iter().flat_map(|bars| [bars.own[2], bars.pool[2]]).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..all.len() as f64, 0.0..most * 1.1)?;
    let name = |at: &f64| {
        let here = all.get(*at as usize).filter(|_| (at.fract() - 0.5).abs() < 0.01);
        here.map_or_else(String::new, |bars| bars.name.clone())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .x_labels(2 * all.len() + 1)
        .x_label_formatter(&name)
        .y_desc("queries a second")
        .draw()?;
    let arms: [Series; 2] = [
        ("DiskANN's reader", RGBColor(0x9a, 0xa5, 0xb1), 0.15, |bars| bars.own),
        ("ringpool", RGBColor(0x1f, 0x6f, 0xb4), 0.5, |bars| bars.pool),
    ];
    for (label, colour, left, of) in arms {
        let bar = |(at, bars): (usize, &Bars)| {
            let left = at as f64 + left;
            Rectangle::new([(left, 0.0), (left + 0.33, of(bars)[1])], colour.filled())
        };
        let drawn = chart.draw_series(all.iter().enumerate().map(bar))?;
        drawn
            .label(label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
        let spread = |(at, bars): (usize, &Bars)| {
            let (middle, [low, _, high]) = (at as f64 + left + 0.165, of(bars));
            PathElement::new([(middle, low), (middle, high)], BLACK)
        };
        chart.draw_series(all.iter().enumerate().map(spread))?;
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperLeft).background_style(WHITE).border_style(WHITE).draw()?;
    root.present()?;
    Ok(())
}
