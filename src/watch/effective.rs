//! The configuration in effect: that of the last `ifup`, `ifdown`, `apply` or reload. An edited file alone changes
//! nothing, as Debian users expect of /etc/network/interfaces.

use super::caller::{Caller, Level};
use crate::apply::hook::unreadable;
use crate::system::configuration::Configuration;
use crate::system::file_events::FileChanges;

#[derive(Default)]
pub(super) struct Effective {
    configuration: Option<Configuration>,
    /// The log has said that the files differ.
    has_reported: bool,
}

impl Effective {
    /// Reads the configuration if something has made it effective.
    pub fn update(&mut self, changes: FileChanges, caller: &Caller) {
        if changes.command || changes.ifupdown || self.configuration.is_none() {
            self.read(caller);
        }
    }

    /// Files with errors do not take the place of those in effect.
    pub fn read(&mut self, caller: &Caller) {
        let read = (caller.read)();
        self.has_reported = false;
        if read.config.is_invalid() {
            (caller.log)(Level::Error, &format!("{:#}", unreadable(&read)));
        }
        if !read.config.is_invalid() || self.configuration.is_none() {
            self.configuration = Some(read);
        }
    }

    /// With the interfaces that are active now.
    pub fn current(&self) -> Option<Configuration> {
        let mut configuration = self.configuration.clone()?;
        configuration.read_active();
        Some(configuration)
    }

    /// Have the files changed since they took effect? Said once.
    pub fn differs(&mut self, read: &Configuration) -> bool {
        let Some(configuration) = &self.configuration else { return false };
        let texts = |configuration: &Configuration| -> Vec<_> {
            configuration.config.files.iter().map(|file| (file.path.clone(), file.document.bytes().to_vec())).collect()
        };
        let differs = texts(configuration) != texts(read);
        differs && !std::mem::replace(&mut self.has_reported, true)
    }
}
