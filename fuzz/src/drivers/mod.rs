//! What the fuzz targets do with an input, as plain functions. `fuzz/targets` hands them libFuzzer's
//! inputs; `tests/crashers.rs` of the main package takes these files too, and hands them all inputs
//! that are kept.
//!
//! An input fails by a panic.

pub mod compile;
pub mod engine;
pub mod fragments;
pub mod parse;
pub mod quote;
pub mod yaml;

mod envelope;
mod frames;
mod judge;
mod network;
mod steps;
mod sums;
mod workers;

/// A target's name and what it does with an input.
type Target = (&'static str, fn(&[u8]));

/// Every target, in the order of their names.
pub const ALL: &[Target] = &[
    ("compile", compile::run),
    ("engine", engine::run),
    ("fragments", fragments::run),
    ("parse", parse::run),
    ("quote", quote::run),
    ("yaml", yaml::run),
];
