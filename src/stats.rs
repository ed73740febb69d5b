//! Statistics: tests, intervals, corrections and sample sizes. Pure.
