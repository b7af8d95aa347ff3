//! Desired states, compiled: the same tables whatever the order and the past.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| guideway_fuzz::drivers::compile::run(input));
