//! The interface group that the rules depend on.

use super::{EFFECT_WRONG_UPLINKS, joined};
use crate::check::finding::Finding;
use crate::check::input::CheckInput;

const ID: &str = "interface-group";

impl CheckInput<'_> {
    pub(super) fn find_group_faults(&self, found: &mut Vec<Finding>) {
        let missing: Vec<_> = self.status.groups.iter().filter(|group| !group.is_installed).collect();
        if let Some(first) = missing.first() {
            let interfaces = joined(missing.iter().map(|group| group.interface.clone()));
            let summary = format!("{interfaces}: not in interface group {}", first.number);
            let effect = format!(
                "The rules do not suppress the main table's routes through an interface outside the group. \
                 {EFFECT_WRONG_UPLINKS}"
            );
            found.push(Finding::error(ID, summary, effect).fix(["symroute apply".to_string()]));
        }
        // 'uplink-down' reports inactive uplinks; nothing is routed through their interfaces.
        let is_down = |dev: &str| {
            self.differing_uplinks().any(|(index, uplink)| uplink.interface == dev && !self.plan.uplinks[index].up)
        };
        let stale: Vec<&String> = self.status.stale_groups.iter().filter(|dev| !is_down(dev)).collect();
        if !stale.is_empty() {
            let interfaces = joined(stale.into_iter().cloned());
            let summary = format!("{interfaces}: in symroute's interface group, but no uplink needs this");
            let effect = "The rules suppress the main table's routes through this interface. Hosts in its networks get \
                 no reply from the uplinks' addresses.";
            found.push(Finding::error(ID, summary, effect).fix(["symroute apply".to_string()]));
        }
        for diagnostic in self.plan.diagnostics.iter().filter(|diagnostic| diagnostic.id == Some(ID)) {
            let finding =
                Finding::error(ID, diagnostic.message.clone(), EFFECT_WRONG_UPLINKS).note(diagnostic.help.clone());
            found.push(Finding { location: diagnostic.location, ..finding });
        }
    }
}
