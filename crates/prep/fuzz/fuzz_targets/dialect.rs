//! Opening a file: dialect, byte order mark, header.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| prep::fuzzing::dialect(data));
