//! Draws ratios as SVG: a bar each, from the line at 1 to the right for what is more and to the left for what is less, by powers.
//!
//! It looks as the plots of `examples/compare` do, by light and by dark.

use std::fmt::Write;

use crate::table::{Column, Ratio, Row};

const STYLE: &str = "\
:root{--bg:#fff;--fg:#1b1f24;--dim:#5f6873;--grid:#e3e6ea;--a:#1f6feb;--b:#0f8a63;--c:#8250c4;--d:#c8590a}\
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ec;--dim:#9aa3ad;--grid:#2c3239;--a:#64a3ff;--b:#43c99c;--c:#b993ee;--d:#f0954a}}\
svg{font:12px system-ui,sans-serif}svg text{fill:var(--fg)}svg .dim{fill:var(--dim)}svg .title{font-weight:600;font-size:13px}\
svg .back{fill:var(--bg)}svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--dim)}svg .range{stroke:var(--fg)}svg .pale{opacity:.5}svg .name{stroke:var(--bg);stroke-width:4px;paint-order:stroke}\
.a{fill:var(--a)}.b{fill:var(--b)}.c{fill:var(--c)}.d{fill:var(--d)}";

/// Classes of columns: one for each group, or for each column where they have none.
const CLASSES: [&str; 4] = ["a", "b", "c", "d"];

const WIDTH: f64 = 760.0;
/// Where names of columns end, and where the bars may be.
const NAMES: f64 = 190.0;
const BARS: (f64, f64) = (250.0, WIDTH - 60.0);
const TOP: f64 = 34.0;
const BAR: f64 = 17.0;
const NAME: f64 = 20.0;
const BETWEEN: f64 = 8.0;
const TICKS: [f64; 8] = [0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5];

/// Where values are, from the least to the most.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn of(rows: &[Row]) -> Self {
        let ratios = rows.iter().flat_map(|row| row.cells.iter().map(|(_, ratio)| ratio));
        let ends = |ratio: &Ratio| ratio.quartiles.unwrap_or((ratio.median, ratio.median));
        let (least, most) = ratios
            .map(ends)
            .fold((0.8_f64, 1.25_f64), |(least, most), (low, high)| (least.min(low), most.max(high)));
        Self { least, most }
    }

    fn across(&self, ratio: f64) -> f64 {
        let part = (ratio.ln() - self.least.ln()) / (self.most.ln() - self.least.ln());
        BARS.0 + part * (BARS.1 - BARS.0)
    }
}

/// Draws the rows under each other; `below` says what the ratios are.
pub fn draw(title: &str, below: &str, rows: &[Row]) -> String {
    let scale = Scale::of(rows);
    let bars: usize = rows.iter().map(|row| row.cells.len()).sum();
    let bottom = TOP + (NAME + BETWEEN) * rows.len() as f64 + BAR * bars as f64;
    let height = bottom + 40.0;
    let mut svg = Svg(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{}"><style>{STYLE}</style>"#,
        escape(title)
    ));
    svg.0.push('\n');
    svg.add(format_args!(r#"<rect class="back" width="{WIDTH}" height="{height}"/>"#));
    svg.text("title", (14.0, 20.0), "start", title);
    for tick in TICKS.into_iter().filter(|tick| (scale.least..=scale.most).contains(tick)) {
        let x = scale.across(tick);
        svg.line(if tick == 1.0 { "axis" } else { "grid" }, (x, TOP), (x, bottom));
        svg.text("dim", (x, bottom + 14.0), "middle", &tick.to_string());
    }
    svg.text("dim", (f64::midpoint(BARS.0, BARS.1), bottom + 32.0), "middle", below);
    let classes = classes(rows);
    let mut y = TOP;
    for row in rows {
        svg.text("name", (14.0, y + 14.0), "start", &row.name);
        y += NAME;
        for (column, ratio) in &row.cells {
            svg.bar(&scale, y, column, *ratio, &class(&classes, column));
            y += BAR;
        }
        y += BETWEEN;
    }
    svg.0.push_str("</svg>\n");
    svg.0
}

/// Returns the columns in their order, those of a group together.
fn classes(rows: &[Row]) -> Vec<Vec<Column>> {
    let mut classes: Vec<Vec<Column>> = Vec::new();
    for (column, _) in rows.iter().flat_map(|row| &row.cells) {
        let mine = |class: &&mut Vec<Column>| class[0].group == column.group && !column.group.is_empty();
        if classes.iter().flatten().any(|known| known == column) {
            continue;
        }
        match classes.iter_mut().find(mine) {
            Some(class) => class.push(column.clone()),
            None => classes.push(vec![column.clone()]),
        }
    }
    classes
}

/// Returns the class of a column's bars: columns of a group have one colour, pale for all but the first.
fn class(classes: &[Vec<Column>], column: &Column) -> String {
    let at = classes.iter().position(|class| class.contains(column)).unwrap_or(0);
    let pale = if classes[at][0] == *column { "" } else { " pale" };
    format!("{}{pale}", CLASSES[at % CLASSES.len()])
}

struct Svg(String);

impl Svg {
    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("a string takes all");
    }

    fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        let text = escape(text);
        self.add(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.add(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    fn bar(&mut self, scale: &Scale, y: f64, column: &Column, ratio: Ratio, class: &str) {
        let Column { group, name } = column;
        let name = if group.is_empty() { name.clone() } else { format!("{group}: {name}") };
        self.text("dim", (NAMES, y + 11.0), "end", &name);
        let (one, end) = (scale.across(1.0), scale.across(ratio.median));
        let (from, to) = (one.min(end), one.max(end));
        let width = (to - from).max(1.0);
        self.add(format_args!(
            r#"<rect class="{class}" x="{from:.1}" y="{:.1}" width="{width:.1}" height="11"/>"#,
            y + 2.0
        ));
        let (low, high) =
            ratio.quartiles.map_or((end, end), |(low, high)| (scale.across(low), scale.across(high)));
        if ratio.quartiles.is_some() {
            self.line("range", (low, y + 7.5), (high, y + 7.5));
        }
        let (x, anchor) =
            if ratio.median >= 1.0 { (to.max(high) + 6.0, "start") } else { (from.min(low) - 6.0, "end") };
        self.text("", (x, y + 11.0), anchor, &format!("{:.2}", ratio.median));
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
