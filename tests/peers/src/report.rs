//! The report: what was measured, as Markdown.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use crate::{engines::Engine, machine, workload::Workload};

/// One measurement with a right result.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) elapsed: Duration,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) unverified: bool,
    pub(crate) streamable: bool,
}

/// All measurements of one engine on one workload.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) engine: &'static Engine,
    pub(crate) samples: Vec<Sample>,
    /// Why a result was wrong, or that there was none. One wrong result spoils the cell.
    pub(crate) fault: Option<String>,
    pub(crate) unsupported: bool,
}

impl Cell {
    pub(crate) const fn new(engine: &'static Engine) -> Self {
        Self {
            engine,
            samples: Vec::new(),
            fault: None,
            unsupported: false,
        }
    }

    /// Whether measuring again makes sense.
    pub(crate) const fn is_open(&self) -> bool {
        self.fault.is_none() && !self.unsupported
    }

    /// Returns the median time in seconds, unless a result was wrong.
    fn seconds(&self) -> Option<f64> {
        let times = self
            .samples
            .iter()
            .map(|sample| sample.elapsed.as_secs_f64());
        median(times.collect()).filter(|_| self.is_open())
    }

    /// Returns the median peak memory in bytes, unless a result was wrong.
    #[expect(clippy::cast_precision_loss, reason = "no memory has 2^53 bytes")]
    fn peak_bytes(&self) -> Option<f64> {
        let peaks = self.samples.iter().filter_map(|sample| sample.peak_bytes);
        median(peaks.map(|bytes| bytes as f64).collect()).filter(|_| self.is_open())
    }

    fn is_unverified(&self) -> bool {
        self.samples.iter().any(|sample| sample.unverified)
    }

    /// Whether it is one to compare with: somebody else's that does everything the job requires.
    fn is_correct_peer(&self) -> bool {
        self.engine.is_peer() && !self.is_unverified()
    }

    /// Returns what the table shows instead of a number.
    const fn mark(&self) -> &'static str {
        if self.unsupported { "-" } else { "X" }
    }
}

/// All engines on one workload.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: &'static Workload,
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    /// Returns the name of the fastest correct peer, with its time in seconds.
    fn fastest_peer(&self) -> Option<(&'static str, f64)> {
        self.smallest_of_peers(Cell::seconds)
    }

    /// Returns the name of the correct peer with the smallest peak memory, with that in bytes.
    fn smallest_peer(&self) -> Option<(&'static str, f64)> {
        self.smallest_of_peers(Cell::peak_bytes)
    }

    fn smallest_of_peers(&self, measure: fn(&Cell) -> Option<f64>) -> Option<(&'static str, f64)> {
        let peers = self.cells.iter().filter(|cell| cell.is_correct_peer());
        let measured = peers.filter_map(|cell| Some((cell.engine.name, measure(cell)?)));
        measured.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn floor_seconds(&self) -> Option<f64> {
        self.cells
            .iter()
            .find(|cell| cell.engine.is_floor())
            .and_then(Cell::seconds)
    }

    const fn unit(&self) -> &'static str {
        if self.workload.operations.is_some() {
            "us each"
        } else {
            "ms"
        }
    }

    /// Returns the contents of a field of the table.
    #[expect(
        clippy::cast_precision_loss,
        reason = "no workload has 2^53 operations"
    )]
    fn time(&self, cell: &Cell) -> String {
        let Some(seconds) = cell.seconds() else {
            return cell.mark().to_owned();
        };
        let time = match self.workload.operations {
            Some(operations) => format!("{:.3}", seconds * 1e6 / operations as f64),
            None => format!("{:.1}", seconds * 1e3),
        };
        let mark = if cell.is_unverified() { " u" } else { "" };
        let ratio = |other: Option<f64>| match other {
            Some(other) => format!("{:.2}", seconds / other),
            None => "-".to_owned(),
        };
        let peer = ratio(self.fastest_peer().map(|(_, theirs)| theirs));
        let floor = ratio(self.floor_seconds());
        format!("{time}{mark} ({peer}; {floor})")
    }
}

/// The whole comparison; displayed, it is Markdown.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) reps: usize,
}

impl Report {
    /// Whether no result of this project's own engines was wrong.
    pub(crate) fn ours_are_right(&self) -> bool {
        let cells = self.rows.iter().flat_map(|row| &row.cells);
        cells
            .filter(|cell| cell.engine.is_ours())
            .all(|cell| cell.fault.is_none())
    }

    fn engines(&self) -> Vec<&'static Engine> {
        self.rows.first().map_or_else(Vec::new, |row| {
            row.cells.iter().map(|cell| cell.engine).collect()
        })
    }

    fn write_head(&self, f: &mut Formatter<'_>, corner: &str) -> fmt::Result {
        let engines = self.engines();
        write!(f, "| {corner} |")?;
        for engine in &engines {
            write!(f, " {} |", engine.name)?;
        }
        write!(f, "\n|---|")?;
        for _ in &engines {
            write!(f, "---:|")?;
        }
        writeln!(f)
    }

    fn write_times(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_head(f, "time")?;
        for row in &self.rows {
            write!(f, "| {}, {} |", row.workload.name, row.unit())?;
            for cell in &row.cells {
                write!(f, " {} |", row.time(cell))?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "\nMedians of {}; in brackets the ratios to the fastest correct peer and to the floor. X: wrong \
             result or none; u: verifies no hashes, and is not counted among the correct; -: no API.",
            self.reps
        )
    }

    fn write_memory(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_head(f, "peak memory")?;
        for row in self.rows.iter().filter(|row| row.workload.memory) {
            write!(f, "| {}, MB |", row.workload.name)?;
            for cell in &row.cells {
                match cell.peak_bytes() {
                    Some(bytes) => write!(f, " {:.1} |", bytes / 1e6)?,
                    None => write!(f, " {} |", cell.mark())?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// Writes the number of operations per second: all engines have one core.
    #[expect(
        clippy::cast_precision_loss,
        reason = "no workload has 2^53 operations"
    )]
    fn write_rates(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_head(f, "on one core")?;
        for row in self.rows.iter().filter(|row| row.workload.rate) {
            write!(f, "| {}, a second |", row.workload.name)?;
            let operations = row.workload.operations.unwrap_or(1) as f64;
            for cell in &row.cells {
                match cell.seconds() {
                    Some(seconds) => write!(f, " {:.0} |", operations / seconds)?,
                    None => write!(f, " {} |", cell.mark())?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// Writes which engines wrote CARs that can be read as a stream.
    fn write_orders(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let streamable = |cell: &&Cell| cell.samples.iter().any(|sample| sample.streamable);
            let cells = row.cells.iter().filter(streamable);
            let names: Vec<&str> = cells.map(|cell| cell.engine.name).collect();
            if !names.is_empty() {
                let (name, names) = (row.workload.name, names.join(", "));
                writeln!(f, "\n{name}: blocks in the streamable order from {names}.")?;
            }
        }
        Ok(())
    }

    /// Writes what was wrong with the results of others.
    fn write_faults(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            for cell in row.cells.iter().filter(|cell| !cell.engine.is_ours()) {
                if let Some(fault) = &cell.fault {
                    let (workload, engine) = (row.workload.name, cell.engine.name);
                    writeln!(f, "\n{workload} {engine}: wrong: {fault}.")?;
                }
            }
        }
        Ok(())
    }

    /// Writes how each engine of this project compares with the best peer.
    fn write_ours(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            for cell in row.cells.iter().filter(|cell| cell.engine.is_ours()) {
                let name = (row.workload.name, cell.engine.name);
                if let (Some(seconds), Some((peer, theirs))) = (cell.seconds(), row.fastest_peer())
                {
                    write!(
                        f,
                        "- {} {}: {:.2} times as fast as {peer}",
                        name.0,
                        name.1,
                        theirs / seconds
                    )?;
                    let memory = (cell.peak_bytes(), row.smallest_peer());
                    if let (true, (Some(bytes), Some((peer, theirs)))) =
                        (row.workload.memory, memory)
                    {
                        write!(f, ", {:.2} times the memory of {peer}", bytes / theirs)?;
                    }
                    writeln!(f)?;
                }
                if let Some(fault) = &cell.fault {
                    writeln!(f, "- {} {}: WRONG: {fault}", name.0, name.1)?;
                }
            }
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_times(f)?;
        if self.rows.iter().any(|row| row.workload.memory) {
            writeln!(f)?;
            self.write_memory(f)?;
        }
        if self.rows.iter().any(|row| row.workload.rate) {
            writeln!(f)?;
            self.write_rates(f)?;
        }
        self.write_orders(f)?;
        self.write_faults(f)?;
        if self.engines().iter().any(|engine| engine.is_ours()) {
            writeln!(f)?;
            self.write_ours(f)?;
        }
        write!(f, "\n{}", machine::describe(&self.engines()))
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The report decides what counts as the fastest and whether the run fails: a mistake here would
/// flatter or hide without anybody noticing.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::WORKLOADS;

    static FLOOR: Engine = engine("floor", None);
    static OURS: Engine = engine("ours-file", Some("ours"));
    static SLOW: Engine = engine("slow", Some("slow"));
    static FAST: Engine = engine("fast", Some("fast"));

    const fn engine(name: &'static str, package: Option<&'static str>) -> Engine {
        Engine {
            name,
            package,
            run: |_, _| Ok(None),
        }
    }

    fn cell(engine: &'static Engine, millis: &[u64]) -> Cell {
        let sample = |millis: &u64| Sample {
            elapsed: Duration::from_millis(*millis),
            peak_bytes: Some(1_000_000 * millis),
            unverified: false,
            streamable: false,
        };
        Cell {
            samples: millis.iter().map(sample).collect(),
            ..Cell::new(engine)
        }
    }

    fn report(cells: Vec<Cell>) -> Report {
        let workload = &WORKLOADS[0];
        Report {
            rows: vec![Row { workload, cells }],
            reps: 3,
        }
    }

    #[test]
    fn times_are_medians_with_ratios_to_the_fastest_peer_and_the_floor() {
        let report = report(vec![
            cell(&FLOOR, &[5]),
            cell(&OURS, &[10, 90, 9]),
            cell(&SLOW, &[60]),
            cell(&FAST, &[40]),
        ]);
        let text = report.to_string();
        let row =
            "| 5.0 (0.12; 1.00) | 10.0 (0.25; 2.00) | 60.0 (1.50; 12.00) | 40.0 (1.00; 8.00) |";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("ours-file: 4.00 times as fast as fast"),
            "{text}"
        );
        assert!(report.ours_are_right());
    }

    #[test]
    fn neither_a_wrong_nor_an_unverified_peer_is_the_fastest() {
        let mut wrong = cell(&FAST, &[1]);
        wrong.fault = Some("count".to_owned());
        let mut unverified = cell(&FAST, &[1]);
        unverified.samples[0].unverified = true;
        let report = report(vec![wrong, unverified, cell(&SLOW, &[60])]);
        assert_eq!(report.rows[0].fastest_peer(), Some(("slow", 0.06)));
        assert!(
            report
                .to_string()
                .contains("| X | 1.0 u (0.02; -) | 60.0 (1.00; -) |")
        );
        let text = report.to_string();
        assert!(text.contains("read-preorder fast: wrong: count."), "{text}");
        assert!(report.ours_are_right(), "a peer's fault is not ours");
    }

    #[test]
    fn the_order_of_blocks_is_told_where_it_is_the_streamable_one() {
        let mut ordered = cell(&OURS, &[10]);
        ordered.samples[0].streamable = true;
        let text = report(vec![ordered, cell(&FAST, &[40])]).to_string();
        let line = "read-preorder: blocks in the streamable order from ours-file.";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_wrong_result_of_ours_fails_the_run() {
        let mut wrong = cell(&OURS, &[1]);
        wrong.fault = Some("root".to_owned());
        let report = report(vec![wrong, cell(&SLOW, &[60])]);
        assert!(!report.ours_are_right());
        assert!(report.to_string().contains("ours-file: WRONG: root"));
    }
}
