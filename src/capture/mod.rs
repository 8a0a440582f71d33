//! The capture program: opens a packet socket, gives up all privileges, and writes what `observe` finds in the packets.
//!
//! It is a process of its own, so that bytes of strangers are read by one that can do nothing else. `child` starts it from
//! `symroute`. Must not use the configuration: the program reads what to observe from its standard input.

mod child;
mod pcap;
mod privileges;
mod program;
pub(crate) mod session;
mod socket;

pub use program::main;
