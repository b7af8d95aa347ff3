//! Packets in pieces, through the engine.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| guideway_fuzz::drivers::fragments::run(input));
