//! What a person reads, and the file for scripts.

use std::io::Write;
use std::path::Path;

use super::calibrate::Calibration;
use super::rows::Row;

pub fn head() {
    println!(
        "{:<6} {:<8} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "mode", "packets", "family", "services", "flows", "ns min", "median", "max"
    );
}

pub fn print(row: &Row) {
    println!(
        "{:<6} {:<8} {:>6} {:>8} {:>8} {:>8.1} {:>8.1} {:>8.1}",
        row.mode,
        row.direction,
        row.family,
        row.services,
        row.flows,
        row.ns_min,
        row.ns_median,
        row.ns_max
    );
}

/// One line a row, the calibration in each.
pub fn write(file: &Path, rows: &[Row], calibration: &Calibration) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    writeln!(
        out,
        "mode,direction,family,services,flows,batch,ns_min,ns_median,ns_max,calibration_multiply_ns,\
         calibration_memory_ns,calibration_parse_ns"
    )?;
    for row in rows {
        writeln!(
            out,
            "{},{},{},{},{},{},{:.2},{:.2},{:.2},{:.3},{:.2},{:.2}",
            row.mode,
            row.direction,
            row.family,
            row.services,
            row.flows,
            row.batch,
            row.ns_min,
            row.ns_median,
            row.ns_max,
            calibration.multiply_ns,
            calibration.memory_ns,
            calibration.parse_ns
        )?;
    }
    out.flush()
}
