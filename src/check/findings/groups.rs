//! The interface group that the rules depend on.

use super::{Host, LOST, listed};
use crate::check::finding::Finding;

const ID: &str = "interface-group";

impl Host<'_> {
    pub(super) fn groups(&self, found: &mut Vec<Finding>) {
        let missing: Vec<_> = self.status.groups.iter().filter(|group| !group.in_place).collect();
        if let Some(first) = missing.first() {
            let which = listed(missing.iter().map(|group| group.interface.clone()));
            let seen = format!("not in interface group {}: {which}", first.number);
            let why = format!("The rules do not reject what main routes through this uplink. {LOST}");
            found.push(Finding::error(ID, seen, why).mend(["symroute apply".to_string()]));
        }
        // Of an uplink that is down, 'uplink-down' and the like tell; nothing is routed through its interface.
        let is_down =
            |dev: &str| self.missed().any(|(at, uplink)| uplink.interface == dev && !self.plan.uplinks[at].up);
        let stale: Vec<&String> = self.status.left_over_groups.iter().filter(|dev| !is_down(dev)).collect();
        if !stale.is_empty() {
            let which = listed(stale.into_iter().cloned());
            let seen = format!("in symroute's interface group, but no uplink that needs it: {which}");
            let why = "The rules reject what main routes through it: its networks do not reach the uplinks' addresses.";
            found.push(Finding::error(ID, seen, why).mend(["symroute apply".to_string()]));
        }
        for diagnostic in self.plan.diagnostics.iter().filter(|diagnostic| diagnostic.id == Some(ID)) {
            let finding = Finding::error(ID, diagnostic.message.clone(), LOST).advice(diagnostic.help.clone());
            found.push(Finding { at: diagnostic.at, ..finding });
        }
    }
}
