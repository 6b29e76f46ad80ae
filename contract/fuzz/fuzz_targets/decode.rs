//! Everything that this project decodes, for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| testbed::fuzz::decode_everything(input));
