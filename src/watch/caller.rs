//! What the command line passes in: how to read the configuration, and where the log goes.

use crate::system::configuration::Configuration;

/// How important a line of the log is (syslog(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error = 3,
    Warning = 4,
    Info = 6,
}

/// What the command line passes in.
pub struct Caller<'a> {
    /// Reads the configuration.
    pub read: &'a dyn Fn() -> Configuration,
    pub log: &'a dyn Fn(Level, &str),
}
