//! Frames, waiting, new snapshots and restarts, through the engines of some workers.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| guideway_fuzz::drivers::engine::run(input));
