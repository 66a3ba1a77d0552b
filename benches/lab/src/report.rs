//! What a run prints and writes: rows of a comparison, rows of figures, and tables of both.
//!
//! The serialized keys are a contract with programs that read the JSON. A number that was not measured is `null`, never zero; nor
//! is there one where no page was moved and CPU is asked for by the page.

use std::fmt;
use std::io::Write;

use serde::Serialize;

use crate::Result;
use crate::rounds::Summary;

/// One arm of one workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are named as the columns are, and explained by `Row::new` and `Summary`"
)]
pub struct Row {
    pub workload: String,
    pub arm: String,
    pub method: String,
    pub in_flight: u32,
    pub page_size: u32,
    pub pages: u64,
    pub seconds: f64,
    pub pages_per_s: f64,
    pub mb_per_s: f64,
    pub cpu_us_per_page: f64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub ratio_to_bare_ring: Option<f64>,
    pub bytes_digest: Option<String>,
    pub longest_us: Option<f64>,
    pub cpu_us_per_s: f64,
    pub wakeups_per_s: Option<f64>,
}

impl Row {
    /// Makes the row of an arm. `method` is what was really in use; the ratio is the median of the ratios of pages a second within
    /// the rounds. The digest is written in hexadecimal, since JSON numbers have no 64 bits.
    #[must_use]
    pub fn new(
        names: Names<'_>,
        in_flight: u32,
        page_size: u32,
        summary: &Summary,
        ratio_to_bare_ring: Option<f64>,
    ) -> Self {
        Self {
            workload: names.workload.to_owned(),
            arm: names.arm.to_owned(),
            method: names.method.to_owned(),
            in_flight,
            page_size,
            pages: summary.pages,
            seconds: summary.seconds,
            pages_per_s: summary.pages_per_s,
            mb_per_s: summary.mb_per_s,
            cpu_us_per_page: summary.cpu_us_per_page,
            p50_us: summary.p50_us,
            p99_us: summary.p99_us,
            ratio_to_bare_ring,
            bytes_digest: summary.digest.map(|digest| format!("{digest:016x}")),
            longest_us: summary.longest_us,
            cpu_us_per_s: summary.cpu_us_per_s,
            wakeups_per_s: summary.wakeups_per_s,
        }
    }
}

/// What a row is called.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// What was done.
    pub workload: &'a str,
    /// The arm that did it.
    pub arm: &'a str,
    /// The I/O method that was really in use.
    pub method: &'a str,
}

/// Which side of its goal a figure has to be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Relation {
    /// The value must reach the goal.
    #[serde(rename = ">=")]
    AtLeast,
    /// The value must not exceed the goal.
    #[serde(rename = "<=")]
    AtMost,
}

/// One value of one figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FigureRow {
    /// The figure: `P1`.
    pub figure: String,
    /// Which of its values.
    pub name: String,
    /// What was measured; `null` where nothing was.
    pub value: Option<f64>,
    /// What it should be; `null` where the value is only reported.
    pub goal: Option<f64>,
    /// On which side of the goal it should be.
    pub relation: Option<Relation>,
    /// Whether the goal is met; `null` where the run cannot tell, and where there is no goal.
    pub ok: Option<bool>,
    /// Spread, noise, absolute numbers; or why there is no answer.
    pub detail: String,
}

impl FigureRow {
    /// Makes a row for a value that was measured, with its goal, unless the value is only reported.
    #[must_use]
    pub fn measured(
        names: (&str, &str),
        value: f64,
        goal: Option<(Relation, f64)>,
        detail: impl Into<String>,
    ) -> Self {
        let ok = goal.map(|(relation, goal)| match relation {
            Relation::AtLeast => value >= goal,
            Relation::AtMost => value <= goal,
        });
        Self { value: Some(value), ok, ..Self::missing(names, goal, detail) }
    }

    /// Marks the value as from a run that is no proof: it neither fails nor passes.
    #[must_use]
    pub fn undecided(self, why: &str) -> Self {
        Self { ok: None, detail: format!("{why}; {}", self.detail), ..self }
    }

    /// Makes a row for a value that was not measured: not built yet, or not possible on this machine.
    #[must_use]
    pub fn missing(
        (figure, name): (&str, &str),
        goal: Option<(Relation, f64)>,
        why: impl Into<String>,
    ) -> Self {
        let (figure, name) = (figure.to_owned(), name.to_owned());
        let (relation, goal) = goal.unzip();
        Self { figure, name, value: None, goal, relation, ok: None, detail: why.into() }
    }
}

/// Writes rows as a JSON array.
///
/// # Errors
///
/// If writing fails.
pub fn write_json<R: Serialize>(mut out: impl Write, rows: &[R]) -> Result<()> {
    serde_json::to_writer_pretty(&mut out, rows)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Makes a table of the rows of a comparison of arms that move pages.
#[must_use]
pub fn comparison<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Table {
    let mut table = Table::new(&[
        ("workload", Align::Left),
        ("arm", Align::Left),
        ("method", Align::Left),
        ("in flight", Align::Right),
        ("pages/s", Align::Right),
        ("MB/s", Align::Right),
        ("CPU us/page", Align::Right),
        ("p50 us", Align::Right),
        ("p99 us", Align::Right),
        ("longest us", Align::Right),
        ("to bare ring", Align::Right),
    ]);
    for row in rows {
        table.push([
            row.workload.clone(),
            row.arm.clone(),
            row.method.clone(),
            row.in_flight.to_string(),
            format!("{:.0}", row.pages_per_s),
            format!("{:.0}", row.mb_per_s),
            or_dash(Some(row.cpu_us_per_page), 2),
            latency(row.p50_us),
            latency(row.p99_us),
            latency(row.longest_us),
            or_dash(row.ratio_to_bare_ring, 3),
        ]);
    }
    table
}

/// Makes a table of the rows of arms that do nothing.
#[must_use]
pub fn at_rest<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Table {
    let mut table = Table::new(&[
        ("workload", Align::Left),
        ("arm", Align::Left),
        ("method", Align::Left),
        ("wake-ups/s", Align::Right),
        ("CPU us/s", Align::Right),
    ]);
    for row in rows {
        table.push([
            row.workload.clone(),
            row.arm.clone(),
            row.method.clone(),
            or_dash(row.wakeups_per_s, 1),
            or_dash(Some(row.cpu_us_per_s), 1),
        ]);
    }
    table
}

/// Makes a table of figures.
#[must_use]
pub fn figures(rows: &[FigureRow]) -> Table {
    let mut table = Table::new(&[
        ("figure", Align::Left),
        ("name", Align::Left),
        ("value", Align::Right),
        ("goal", Align::Right),
        ("", Align::Left),
        ("detail", Align::Left),
    ]);
    for row in rows {
        let goal = match row.relation.zip(row.goal) {
            Some((Relation::AtLeast, goal)) => format!(">= {goal}"),
            Some((Relation::AtMost, goal)) => format!("<= {goal}"),
            None => "none".to_owned(),
        };
        let verdict = match row.ok {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None if row.goal.is_none() && row.value.is_some() => "told",
            None => "open",
        };
        table.push([
            row.figure.clone(),
            row.name.clone(),
            or_dash(row.value, 3),
            goal,
            verdict.to_owned(),
            row.detail.clone(),
        ]);
    }
    table
}

/// Formats microseconds; below ten of them, with a resolution of ten nanoseconds.
#[must_use]
pub fn latency(us: Option<f64>) -> String {
    or_dash(us, if us.is_some_and(|us| us < 10.0) { 2 } else { 1 })
}

/// Formats the value with this number of digits; a dash stands for what is not known or is no number.
#[must_use]
pub fn or_dash(value: Option<f64>, digits: usize) -> String {
    let known = value.filter(|value| value.is_finite());
    known.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// On which side the cells of a column begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Plain text in aligned columns.
#[derive(Clone, Debug)]
pub struct Table {
    aligns: Vec<Align>,
    /// The heads of the columns, then the rows.
    lines: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table with these columns and no rows.
    #[must_use]
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let (heads, aligns) = columns.iter().map(|&(head, align)| (head.to_owned(), align)).unzip();
        Self { aligns, lines: vec![heads] }
    }

    /// Adds a row, which has as many cells as the table has columns.
    pub fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |column: usize| self.lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        for line in &self.lines {
            let cells =
                line.iter().zip(&widths).zip(&self.aligns).map(|((cell, &width), align)| match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let names = Names { workload: "random read", arm: "pool", method: "uring" };
        let summary = Summary {
            pages: 1000,
            seconds: 0.5,
            pages_per_s: 2000.0,
            mb_per_s: 16.384,
            cpu_us_per_page: 4.25,
            cpu_us_per_s: 8500.0,
            p50_us: Some(0.031),
            p99_us: None,
            longest_us: Some(1900.0),
            wakeups_per_s: None,
            digest: Some(0xab),
        };
        Row::new(names, 64, 8192, &summary, Some(0.98))
    }

    #[test]
    fn rows_have_exactly_the_agreed_keys() {
        let mut json = Vec::new();
        write_json(&mut json, &[row()]).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let mut keys: Vec<_> = read[0].as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let mut agreed = [
            "workload",
            "arm",
            "method",
            "in_flight",
            "page_size",
            "pages",
            "seconds",
            "pages_per_s",
            "mb_per_s",
            "cpu_us_per_page",
            "p50_us",
            "p99_us",
            "ratio_to_bare_ring",
            "bytes_digest",
            "longest_us",
            "cpu_us_per_s",
            "wakeups_per_s",
        ];
        agreed.sort_unstable();
        assert_eq!(keys, agreed);
        assert_eq!(read[0]["bytes_digest"], "00000000000000ab");
        assert!(read[0]["p99_us"].is_null());
    }

    #[test]
    fn an_arm_that_moves_no_page_has_no_cpu_a_page() {
        let at_rest = Row { pages: 0, cpu_us_per_page: f64::NAN, wakeups_per_s: Some(0.5), ..row() };
        let mut json = Vec::new();
        write_json(&mut json, &[&at_rest]).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert!(read[0]["cpu_us_per_page"].is_null());
        assert_eq!(read[0]["wakeups_per_s"], 0.5);
        assert_eq!(comparison([&at_rest]).lines[1][6..], ["-", "0.03", "-", "1900.0", "0.980"]);
        assert!(super::at_rest([&at_rest]).to_string().ends_with("0.5    8500.0\n"));
    }

    #[test]
    fn a_figure_is_judged_by_its_relation_and_an_undecided_one_not_at_all() {
        let of =
            |value, relation| FigureRow::measured(("P1", "rate"), value, Some((relation, 0.97)), "15 rounds");
        assert_eq!(of(0.98, Relation::AtLeast).ok, Some(true));
        assert_eq!(of(0.98, Relation::AtMost).ok, Some(false));
        let undecided = of(0.5, Relation::AtLeast).undecided("disturbed");
        assert_eq!((undecided.ok, &undecided.detail[..]), (None, "disturbed; 15 rounds"));
        let json = serde_json::to_string(&FigureRow::missing(
            ("P9", "reads"),
            Some((Relation::AtLeast, 0.9)),
            "not built",
        ));
        let expected = r#"{"figure":"P9","name":"reads","value":null,"goal":0.9,"relation":">=","ok":null,"detail":"not built"}"#;
        assert_eq!(json.unwrap(), expected);
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[("arm", Align::Left), ("pages/s", Align::Right)]);
        table.push(["bare ring".to_owned(), "60000".to_owned()]);
        assert_eq!(table.to_string(), "arm        pages/s\nbare ring    60000\n");
    }
}
