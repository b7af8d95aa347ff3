//! The text of a configuration.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| guideway_fuzz::drivers::yaml::run(input));
