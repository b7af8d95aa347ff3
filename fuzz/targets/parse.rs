//! Frame headers, against etherparse's parser of whole packets.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| guideway_fuzz::drivers::parse::run(input));
