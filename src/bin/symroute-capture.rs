//! The same program under the name of the capture program, for cargo's `target` directory; the package has a link.

#![no_main]

mod program;
