//! The program.

#![no_main]

mod program;
