//! The same program under its other name, for cargo's `target` directory; the package has a link.

#![no_main]

mod program;
