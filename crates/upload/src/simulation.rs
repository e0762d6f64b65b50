//! Simulated carriers and the laws they are to keep.
