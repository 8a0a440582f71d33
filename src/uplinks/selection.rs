//! The uplinks that the user selected.

use super::uplink::Uplink;
use crate::network::Family;

/// By default, all uplinks.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Interfaces as ifupdown names them; if empty, all interfaces.
    pub interfaces: Vec<String>,
    pub family: Option<Family>,
}

impl Selection {
    pub fn has(&self, uplink: &Uplink) -> bool {
        let is_named = |interface: &String| uplink.name == *interface || uplink.is_on(interface);
        self.has_family(uplink.family) && (self.interfaces.is_empty() || self.interfaces.iter().any(is_named))
    }

    pub fn has_family(&self, family: Family) -> bool {
        self.family.is_none_or(|selected| selected == family)
    }

    /// Does it include a finding for this interface or family?
    pub fn has_finding(&self, interface: Option<&str>, family: Option<Family>) -> bool {
        interface.is_none_or(|interface| self.has_interface(interface))
            && family.is_none_or(|family| self.has_family(family))
    }

    /// Does it include an interface that is not an uplink?
    pub fn has_interface(&self, interface: &str) -> bool {
        self.interfaces.is_empty() || self.interfaces.iter().any(|selected| selected == interface)
    }
}
