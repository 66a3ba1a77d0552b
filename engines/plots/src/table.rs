//! Reads a table of ratios out of a README: what stands in the text is what is drawn.

/// A ratio, with its quartiles where the table has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub median: f64,
    pub quartiles: Option<(f64, f64)>,
}

/// The ratios of a row, each with the name of its column.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub cells: Vec<(Column, Ratio)>,
}

/// The name of a column: `memory: against`, or one word for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What several columns have in common, which stands before a colon in the first of them.
    pub group: String,
    pub name: String,
}

/// Returns the rows of the table that begins with this line, without those that have no ratio.
pub fn rows(text: &str, header: &str) -> Result<Vec<Row>, String> {
    let mut lines = text.lines().skip_while(|line| *line != header);
    let columns = columns(lines.next().ok_or_else(|| format!("there is no table {header}"))?);
    // The line under the header.
    lines.next();
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| row(line, &columns));
    let rows: Vec<_> = rows.filter(|row| !row.cells.is_empty()).collect();
    if rows.is_empty() { Err(format!("no row under {header} has a ratio")) } else { Ok(rows) }
}

fn row(line: &str, columns: &[Column]) -> Row {
    let mut cells = cells(line);
    let name = cells.next().unwrap_or_default();
    let cells = columns.iter().zip(cells);
    let cells = cells.filter_map(|(column, cell)| Some((column.clone(), ratio(&cell)?))).collect();
    Row { name, cells }
}

fn columns(header: &str) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for cell in cells(header).skip(1) {
        let group = columns.last().map_or("", |last| &last.group).to_owned();
        let (group, name) = match cell.split_once(": ") {
            Some((group, name)) => (group.to_owned(), name.to_owned()),
            None if group.is_empty() => (String::new(), cell),
            None => (group, cell),
        };
        columns.push(Column { group, name });
    }
    columns
}

/// Returns the texts between the bars of a line, without what only changes their type.
fn cells(line: &str) -> impl Iterator<Item = String> {
    line.trim().trim_matches('|').split('|').map(|cell| cell.replace(['*', '`'], "").trim().to_owned())
}

/// Reads `1.02` or `1.02 (0.98-1.04)`; nothing else is a ratio.
fn ratio(cell: &str) -> Option<Ratio> {
    let Some((median, rest)) = cell.split_once(" (") else {
        return Some(Ratio { median: cell.parse().ok()?, quartiles: None });
    };
    let (low, high) = rest.strip_suffix(')')?.split_once('-')?;
    Some(Ratio { median: median.parse().ok()?, quartiles: Some((low.parse().ok()?, high.parse().ok()?)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_ratios_of_its_columns() {
        let header = "| | all: cache | mapped | an eighth: cache |";
        let text = format!(
            "text\n\n{header}\n|---|---|---|---|\n| scan | 0.76 (0.72-0.82) | | **1.46** |\n| KiB | 174, 181 | | |\n\nmore"
        );
        let column = |group: &str, name: &str| Column { group: group.to_owned(), name: name.to_owned() };
        let scan = vec![
            (column("all", "cache"), Ratio { median: 0.76, quartiles: Some((0.72, 0.82)) }),
            (column("an eighth", "cache"), Ratio { median: 1.46, quartiles: None }),
        ];
        assert_eq!(rows(&text, header), Ok(vec![Row { name: "scan".to_owned(), cells: scan }]));
        assert!(rows(&text, "| another |").is_err());
    }
}
