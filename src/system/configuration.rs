//! The configuration of a root: its interfaces files, and the names of its routing tables.

use std::path::Path;

use super::files::Root;
use super::{ifstate, pppd};
use crate::commands::tables::Names;
use crate::interfaces::{Config, Dialect};
use crate::network::Snapshot;
use crate::policy::{Plan, any_is_managed, plan};
use crate::uplinks::{files_satisfy, find};

#[derive(Clone)]
pub struct Configuration {
    pub root: Root,
    pub config: Config,
    pub names: Names,
}

impl Configuration {
    /// Reads the files alone, as `dialect`, or as the ifup that is installed in the root.
    pub fn read(root: &Path, interfaces: &Path, dialect: Option<Dialect>) -> Self {
        let root = Root::new(root);
        let mut config = Config::read(interfaces, &root, dialect.unwrap_or_else(|| Dialect::installed(&root)));
        config.ppp = pppd::interfaces(&root, &config);
        let names = Names::read(&root);
        Configuration { root, config, names }
    }

    /// The same, with the interfaces that ifupdown has noted as up. Another root has none.
    pub fn read_with_active(root: &Path, interfaces: &Path, dialect: Option<Dialect>) -> Self {
        let mut configuration = Configuration::read(root, interfaces, dialect);
        configuration.read_active();
        configuration
    }

    /// Reads again which interfaces ifupdown has noted as up, and those of pppd.
    pub fn read_active(&mut self) {
        if self.root.is_host() {
            self.config.ppp = pppd::interfaces(&self.root, &self.config);
            self.config.active = ifstate::active(&self.root, self.config.dialect);
        }
    }

    /// Does any uplink of the files need a policy? As the plan has it, without making one.
    pub fn has_managed(&self) -> bool {
        files_satisfy(&self.config, &self.names, &any_is_managed)
    }

    /// The same for all uplinks, those that only the kernel's main table has included.
    pub fn has_managed_in(&self, snapshot: &Snapshot) -> bool {
        any_is_managed(&find(&self.config, Some(snapshot), &[], &self.names).uplinks)
    }

    /// The plan of the host, compared with the kernel where there is a snapshot; `leaving` are interfaces that go down.
    pub fn plan(&self, snapshot: Option<&Snapshot>, leaving: &[&str]) -> Plan {
        let found = find(&self.config, snapshot, leaving, &self.names);
        plan(found, snapshot, &self.names, None)
    }
}
