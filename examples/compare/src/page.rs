//! The findings as one page by itself: the verdict, plots, and the table. It loads nothing, and is light or dark as the browser is
//! set.

use std::fmt::Write;

use lab::report::Row;

use crate::entrants::{BARE_RING, PAGE_CACHE};
use crate::findings::{Finding, Findings, PARTS};
use crate::plot::{self, Axis, Bar, Line, STYLE, Scale, escape};
use crate::reads::{DEPTHS, depth_name, is_depth};
use crate::report::{self, COLUMNS};
use crate::verdict::Side;

const PAGE_STYLE: &str = "\
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:1040px;margin:2em auto;padding:0 1em}\
h1{font-size:1.6em;margin-bottom:.2em}h2{font-size:1.15em;margin-top:2em}.dim,figcaption{color:var(--dim)}\
ul.verdict{list-style:none;padding:0}ul.verdict li{border-left:4px solid var(--dim);padding:.2em .8em;margin:.4em 0}\
ul.verdict li.faster{border-color:var(--worker)}ul.verdict li.slower,.warning{border-color:var(--plain)}\
.warning{border-left:4px solid var(--plain);padding:.2em .8em;font-weight:600}\
figure{margin:0}figure svg{width:100%;height:auto;border:1px solid var(--grid);border-radius:6px}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:14px}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;white-space:nowrap}\
th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid var(--grid)}\
th:nth-child(-n+3),td:nth-child(-n+3){text-align:left}details li{font-size:13px;overflow-wrap:anywhere}";

/// Makes the whole page. `subject` are lines on the machine and the files.
pub(crate) fn page(warnings: &[String], subject: &[String], findings: &Findings) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>ringpool: compare</title>\n<style>{STYLE}\n{PAGE_STYLE}</style></head>\n<body>\n\
         <h1>What asynchronous I/O buys on this disk</h1>\n"
    );
    let mut add = |html: &str| writeln!(page, "{html}").expect("a string takes all");
    subject.iter().for_each(|line| add(&format!("<div class=\"dim\">{}</div>", escape(line))));
    warnings.iter().for_each(|warning| add(&format!("<p class=\"warning\">{}</p>", escape(warning))));
    add("<ul class=\"verdict\">");
    for verdict in &findings.verdicts {
        let class = if verdict.side == Side::Within { "within-noise" } else { verdict.side.name() };
        add(&format!("<li class=\"{class}\">{}</li>", escape(&verdict.sentence)));
    }
    findings
        .failures
        .iter()
        .for_each(|failed| add(&format!("<li class=\"slower\">{}</li>", escape(&failed.line()))));
    add("</ul>");
    if let Some(overview) = overview(findings, None) {
        add("<h2>Beside plain calls</h2>");
        add(&format!(
            "<figure>{overview}<figcaption>Pages a second of each arm, to those of plain calls in the same round (of \
            updates: to the pool's own sync method). The line on a bar goes from the lower to the upper quartile of the rounds; \
            pale: within the noise.</figcaption></figure>"
        ));
    }
    let by_depth = by_depth(findings);
    if !by_depth.is_empty() {
        add("<h2>Random reads by requests in flight</h2>");
        add(&format!("<div class=\"plots\">{}</div>", by_depth.concat()));
    }
    let latencies = latencies(findings);
    if !latencies.is_empty() {
        add("<h2>Latencies</h2>");
        add(&format!("<div class=\"plots\">{}</div>", latencies.concat()));
        add(
            "<p class=\"dim\">From when a request was made to when its bytes could be used, all rounds together: what has more in \
             flight waits longer for each.</p>",
        );
    }
    add("<h2>All rows</h2>");
    add(&table(findings));
    add(&format!("<p class=\"dim\">{}</p>", escape(report::LEGEND).replace('\n', "<br>")));
    add("<details><summary>Remarks</summary><ul>");
    let remarks = findings.left_out.iter().chain(&findings.methods).chain(&findings.remarks);
    remarks.for_each(|remark| add(&format!("<li>{}</li>", escape(remark))));
    add("</ul></details>\n</body></html>");
    page
}

/// Draws how the arms of each workload compare with plain calls; `None` where there are none. With a style the picture stands by
/// itself.
pub(crate) fn overview(findings: &Findings, style: Option<&str>) -> Option<String> {
    let mut groups: Vec<(String, Vec<Bar>)> = Vec::new();
    for finding in findings.rows.iter().filter(|finding| !is_depth(&finding.row.workload)) {
        let Some((standing, side)) = &finding.to_plain else { continue };
        if !standing.ratio.median.is_finite() {
            continue;
        }
        let bar = Bar {
            arm: finding.row.arm.clone(),
            times: standing.ratio.median,
            range: (standing.ratio.lower, standing.ratio.upper),
            within_noise: *side == Side::Within,
        };
        match groups.last_mut().filter(|(workload, _)| *workload == finding.row.workload) {
            Some((_, bars)) => bars.push(bar),
            None => groups.push((finding.row.workload.clone(), vec![bar])),
        }
    }
    let below = "times (update: to the pool's sync method; safety: to the pool without it)";
    (!groups.is_empty()).then(|| plot::bars("Pages a second, to those of plain calls", below, &groups, style))
}

/// Draws rate and CPU by requests in flight.
fn by_depth(findings: &Findings) -> Vec<String> {
    let arms = [BARE_RING, "pool, io_uring", "pread", PAGE_CACHE[0]];
    let lines_of = |value: fn(&Row) -> f64| -> Vec<Line> {
        let line = |arm: &str| {
            let point = |&depth: &u32| {
                let name = depth_name(depth);
                let rows = findings.rows.iter().map(|finding| &finding.row);
                rows.filter(|row| row.workload == name && row.arm == arm)
                    .map(|row| (f64::from(depth), value(row)))
                    .next()
            };
            Line { arm: arm.to_owned(), points: DEPTHS.iter().filter_map(point).collect() }
        };
        arms.into_iter().map(line).filter(|line| !line.points.is_empty()).collect()
    };
    let x = Axis { label: "requests in flight (plain calls have one)", scale: Scale::Powers(2) };
    let plot = |title, label, value| {
        let lines = lines_of(value);
        let y = Axis { label, scale: Scale::Linear };
        (!lines.is_empty()).then(|| format!("<figure>{}</figure>", plot::lines(title, &x, &y, &lines)))
    };
    let rate = plot("Rate", "pages a second", |row| row.pages_per_s);
    let cpu = plot("CPU", "microseconds a page", |row| row.cpu_us_per_page);
    rate.into_iter().chain(cpu).collect()
}

/// Makes a plot for each workload that has latencies.
fn latencies(findings: &Findings) -> Vec<String> {
    let mut workloads: Vec<&str> = Vec::new();
    for finding in &findings.rows {
        let known = finding.latencies_us.is_some() && !is_depth(&finding.row.workload);
        if known && !workloads.contains(&&finding.row.workload[..]) {
            workloads.push(&finding.row.workload);
        }
    }
    let x = Axis { label: "part of the requests that took no longer", scale: Scale::Parts };
    let y = Axis { label: "microseconds", scale: Scale::Powers(10) };
    let plot = |workload: &str| {
        let of_workload = |finding: &&Finding| finding.row.workload == workload;
        let line = |finding: &Finding| {
            let points = PARTS.iter().copied().zip(finding.latencies_us.as_ref()?.iter().copied());
            // The longest is in the table.
            Some(Line {
                arm: finding.row.arm.clone(),
                points: points.filter(|&(part, _)| part < 1.0).collect(),
            })
        };
        let lines: Vec<Line> = findings.rows.iter().filter(of_workload).filter_map(line).collect();
        format!("<figure>{}</figure>", plot::lines(workload, &x, &y, &lines))
    };
    workloads.into_iter().map(plot).collect()
}

fn table(findings: &Findings) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let moving = findings.rows.iter().filter(|finding| finding.row.wakeups_per_s.is_none());
    let rows: String = moving.map(|finding| row(&report::cells(finding), "td")).collect();
    let heads = COLUMNS.map(|(head, _)| head.to_owned());
    format!("<div class=\"wide\"><table>\n{}{rows}</table></div>", row(&heads, "th"))
}
