//! The parallel scan against the `csv` crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| prep::fuzzing::scan(data));
