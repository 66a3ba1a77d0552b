//! Plots as SVG: lines over two axes, and bars for ratios.
//!
//! Colours are classes, one an arm, which [`STYLE`] gives values for light and for dark; so a plot fits the page or the README
//! that it stands in.

use std::fmt::Write;

/// Colours and type of every plot. Arms have the same colour everywhere.
pub(crate) const STYLE: &str = "\
:root{--bg:#fff;--fg:#1b1f24;--dim:#5f6873;--grid:#e3e6ea;--ring:#7d8691;--plain:#c8590a;--cache:#a98307;--uring:#1f6feb;\
--worker:#0f8a63;--sync:#8250c4}\
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ec;--dim:#9aa3ad;--grid:#2c3239;--ring:#a3acb6;--plain:#f0954a;\
--cache:#e0c04c;--uring:#64a3ff;--worker:#43c99c;--sync:#b993ee}}\
svg{font:12px system-ui,sans-serif}svg text{fill:var(--fg)}svg .dim{fill:var(--dim)}svg .title{font-weight:600;font-size:13px}\
svg .back{fill:var(--bg)}svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--dim)}svg .line{fill:none;stroke-width:2}\
svg .range{stroke:var(--fg);stroke-width:1}svg .within{opacity:.4}\
.ring{fill:var(--ring);stroke:var(--ring)}.plain{fill:var(--plain);stroke:var(--plain)}.cache{fill:var(--cache);stroke:var(--cache)}\
.uring{fill:var(--uring);stroke:var(--uring)}.worker{fill:var(--worker);stroke:var(--worker)}.sync{fill:var(--sync);stroke:var(--sync)}\
.other{fill:var(--dim);stroke:var(--dim)}";

/// Returns the class of an arm by its name.
fn class(arm: &str) -> &'static str {
    match arm {
        "bare ring" => "ring",
        _ if arm.ends_with("page cache") => "cache",
        "pread" | "pwrite" | "without" => "plain",
        _ if arm.starts_with("pool, io_uring") || arm == "codec" => "uring",
        _ if arm.starts_with("pool, worker") || arm == "log" => "worker",
        _ if arm.starts_with("pool, sync") || arm == "doublewrite" => "sync",
        _ => "other",
    }
}

/// One arm's points.
pub(crate) struct Line {
    pub(crate) arm: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A direction of a plot.
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
}

/// How values become positions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    /// By powers of this.
    Powers(u32),
    /// Parts of all requests, each step to the right a tenth of what is left.
    Parts,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Powers(base) => value.max(f64::MIN_POSITIVE).log(base.into()),
            // The longest has no position of its own.
            Self::Parts => -(1.0 - value.min(0.9999)).log10(),
        }
    }

    /// Returns where the axis begins and ends, and its ticks, for values between these.
    fn ticks(self, least: f64, most: f64) -> (f64, f64, Vec<(f64, String)>) {
        match self {
            Self::Linear => {
                let step = nice(most / 4.0);
                let count = (most / step).ceil().max(1.0) as u32;
                let ticks = (0..=count).map(|at| f64::from(at) * step).map(|value| (value, short(value)));
                (0.0, f64::from(count) * step, ticks.collect())
            }
            Self::Powers(base) => {
                let (from, to) = (self.place(least).floor() as i32, self.place(most).ceil() as i32);
                let every = ((to - from) / 8 + 1) as usize;
                let value = |power| f64::from(base).powi(power);
                let ticks = (from..=to).step_by(every).map(|power| (f64::from(power), short(value(power))));
                (f64::from(from), f64::from(to.max(from + 1)), ticks.collect())
            }
            Self::Parts => {
                let named = [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")];
                let ticks = named.map(|(part, name)| (self.place(part), name.to_owned()));
                (0.0, 4.0, ticks.into_iter().chain([(4.0, "99.99 %".to_owned())]).collect())
            }
        }
    }
}

/// Rounds up to 1, 2 or 5 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * power)
        .into_iter()
        .find(|&nice| nice >= value * 0.999)
        .unwrap_or(value)
}

/// Formats a number with few digits: `1200000` is `1.2M`.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Escapes the text for HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

struct Svg(String);

impl Svg {
    fn new(width: f64, height: f64, title: &str) -> Self {
        let title = escape(title);
        let mut svg = Self(format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">"#
        ));
        svg.add(format_args!(r#"<rect class="back" width="{width}" height="{height}"/>"#));
        svg.text(14.0, 20.0, "title", "start", &title);
        svg
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("a string takes all");
    }

    fn text(&mut self, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
        self.add(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// Draws lines over two axes, with a legend above.
pub(crate) fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    const WIDTH: f64 = 480.0;
    const LEGEND: usize = 3;
    let legend_rows = lines.len().div_ceil(LEGEND) as f64;
    let (left, right, top) = (60.0, WIDTH - 16.0, 34.0 + 18.0 * legend_rows);
    let bottom = top + 200.0;
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let range = |of: fn((f64, f64)) -> f64| {
        points().map(of).fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), value| {
            (least.min(value), most.max(value))
        })
    };
    let ((x_least, x_most), (y_least, y_most)) = (range(|point| point.0), range(|point| point.1));
    let (x_from, x_to, x_ticks) = x.scale.ticks(x_least, x_most);
    let (y_from, y_to, y_ticks) = y.scale.ticks(y_least, y_most);
    let across = |place: f64| left + (place - x_from) / (x_to - x_from) * (right - left);
    let up = |place: f64| bottom - (place - y_from) / (y_to - y_from) * (bottom - top);

    let mut svg = Svg::new(WIDTH, bottom + 44.0, title);
    for (at, line) in lines.iter().enumerate() {
        let (x, y) = (14.0 + 152.0 * (at % LEGEND) as f64, 40.0 + 18.0 * (at / LEGEND) as f64);
        svg.line(&format!("line {}", class(&line.arm)), (x, y - 4.0), (x + 18.0, y - 4.0));
        svg.text(x + 24.0, y, "", "start", &escape(&line.arm));
    }
    for (place, name) in &y_ticks {
        svg.line("grid", (left, up(*place)), (right, up(*place)));
        svg.text(left - 6.0, up(*place) + 4.0, "dim", "end", name);
    }
    for (place, name) in &x_ticks {
        let anchor = if *place >= x_to { "end" } else { "middle" };
        svg.line("grid", (across(*place), top), (across(*place), bottom));
        svg.text(across(*place), bottom + 16.0, "dim", anchor, name);
    }
    svg.line("axis", (left, bottom), (right, bottom));
    svg.text((left + right) / 2.0, bottom + 36.0, "dim", "middle", x.label);
    svg.add(format_args!(
        r#"<text class="dim" transform="translate(14 {:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
        (top + bottom) / 2.0,
        y.label
    ));
    for line in lines {
        let place =
            |&(px, py): &(f64, f64)| format!("{:.1},{:.1}", across(x.scale.place(px)), up(y.scale.place(py)));
        let points: Vec<String> = line.points.iter().map(place).collect();
        svg.add(format_args!(
            r#"<polyline class="line {}" style="fill:none" points="{}"/>"#,
            class(&line.arm),
            points.join(" ")
        ));
    }
    svg.end()
}

/// One bar: how many times.
pub(crate) struct Bar {
    pub(crate) arm: String,
    pub(crate) times: f64,
    /// Its quartiles.
    pub(crate) range: (f64, f64),
    /// Whether it is within the noise.
    pub(crate) within_noise: bool,
}

/// Draws bars in groups with a name, to the right of 1 for what is more, and to the left for what is less.
pub(crate) fn bars(title: &str, below: &str, groups: &[(String, Vec<Bar>)], style: Option<&str>) -> String {
    const WIDTH: f64 = 760.0;
    const ROW: f64 = 20.0;
    let (names, left, right, top) = (230.0, 290.0, WIDTH - 60.0, 42.0);
    let rows: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let bottom = top + ROW * rows as f64 + 12.0 * groups.len() as f64;
    let all = || {
        groups.iter().flat_map(|(_, bars)| bars.iter().flat_map(|bar| [bar.times, bar.range.0, bar.range.1]))
    };
    let known = || all().filter(|times| times.is_finite() && *times > 0.0);
    let (least, most) = (known().fold(0.5, f64::min), known().fold(2.0, f64::max));
    let across = |times: f64| {
        let times = times.clamp(least, most);
        left + (times.ln() - least.ln()) / (most.ln() - least.ln()) * (right - left)
    };

    let mut svg = Svg::new(WIDTH, bottom + 44.0, title);
    if let Some(style) = style {
        svg.add(format_args!("<style>{style}</style>"));
    }
    for tick in [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        if (least..=most).contains(&tick) {
            let class = if tick == 1.0 { "axis" } else { "grid" };
            svg.line(class, (across(tick), top - 8.0), (across(tick), bottom));
            svg.text(across(tick), bottom + 16.0, "dim", "middle", &format!("{tick}"));
        }
    }
    svg.text(f64::midpoint(left, right), bottom + 36.0, "dim", "middle", &escape(below));
    let mut y = top;
    for (name, bars) in groups {
        svg.text(14.0, y + 14.0, "", "start", &escape(name));
        for bar in bars {
            let within = if bar.within_noise { " within" } else { "" };
            let (from, to) = (across(1.0_f64.min(bar.times)), across(1.0_f64.max(bar.times)));
            svg.text(names, y + 14.0, "dim", "end", &escape(&bar.arm));
            svg.add(format_args!(
                r#"<rect class="{}{within}" x="{from:.1}" y="{:.1}" width="{:.1}" height="12"/>"#,
                class(&bar.arm),
                y + 4.0,
                (to - from).max(1.0)
            ));
            svg.line("range", (across(bar.range.0), y + 10.0), (across(bar.range.1), y + 10.0));
            let mark = if bar.within_noise { "~" } else { "" };
            let text = format!("{mark}{}", short(bar.times));
            let (x, anchor) = if bar.times >= 1.0 {
                (to.max(across(bar.range.1)) + 6.0, "start")
            } else {
                (from.min(across(bar.range.0)) - 6.0, "end")
            };
            svg.text(x, y + 14.0, "", anchor, &text);
            y += ROW;
        }
        y += 12.0;
    }
    svg.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_beyond_all_values() {
        let (from, to, ticks) = Scale::Linear.ticks(3.0, 87.0);
        assert_eq!((from, to), (0.0, 100.0));
        assert_eq!(ticks.iter().map(|tick| &tick.1[..]).collect::<Vec<_>>(), ["0", "50", "100"]);
        let (from, to, ticks) = Scale::Powers(10).ticks(30.0, 4000.0);
        assert_eq!((from, to, ticks.len()), (1.0, 4.0, 4));
        assert_eq!(short(1_200_000.0), "1.2M");
    }

    #[test]
    fn parts_have_a_place_and_the_longest_is_the_last() {
        assert_eq!(Scale::Parts.place(0.0), 0.0);
        assert!((Scale::Parts.place(0.99) - 2.0).abs() < 1e-9);
        assert!((Scale::Parts.place(1.0) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn names_cannot_leave_their_text() {
        let bar = Bar { arm: "<b>&".to_owned(), times: 2.0, range: (1.5, 2.5), within_noise: true };
        let svg = bars("a \"title\"", "times", &[("group".to_owned(), vec![bar])], None);
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>"), "{svg}");
        assert!(svg.contains("~2<"), "{svg}");
    }
}
