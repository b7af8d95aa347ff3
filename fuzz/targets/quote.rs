//! ICMP errors that quote packets of live flows, through the engine.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| guideway_fuzz::drivers::quote::run(input));
