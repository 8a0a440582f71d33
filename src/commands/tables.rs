//! The names of routing tables, from iproute2's rt_tables files. They are read, never written.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::command::{Command, Object};
use super::keywords::number;
use crate::interfaces::Files;

/// The table `default`: empty, unless someone adds routes to it.
pub const DEFAULT: u32 = 253;
/// The table `main`.
pub const MAIN: u32 = 254;
/// The table `local`: the addresses of the host.
pub const LOCAL: u32 = 255;
/// `RT_TABLE_UNSPEC`, `DEFAULT`, `MAIN` and `LOCAL` (include/uapi/linux/rtnetlink.h): not for use.
pub const RESERVED: [u32; 4] = [0, DEFAULT, MAIN, LOCAL];

/// The name that iproute2 gives a table without its files; otherwise the number.
pub fn table_name(table: u32) -> String {
    match table {
        DEFAULT => "default".into(),
        MAIN => "main".into(),
        LOCAL => "local".into(),
        number => number.to_string(),
    }
}

/// Table numbers by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, u32>);

impl Names {
    /// Reads the files that iproute2 reads: those in /usr/share (6.5 and later), replaced by their
    /// namesakes in /etc (iproute2, lib/rt_names.c).
    pub fn read(files: &dyn Files) -> Names {
        let mut paths: BTreeMap<String, PathBuf> = BTreeMap::new();
        for directory in ["/usr/share/iproute2/rt_tables.d", "/etc/iproute2/rt_tables.d"].map(Path::new) {
            for name in files.list(directory).unwrap_or_default() {
                let name = String::from_utf8_lossy(&name).into_owned();
                if name.ends_with(".conf") && !name.starts_with('.') {
                    let path = directory.join(&name);
                    paths.insert(name, path);
                }
            }
        }
        let mut names = Names::default();
        let is_missing = |read: &io::Result<_>| read.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        let base = ["/etc/iproute2/rt_tables", "/usr/share/iproute2/rt_tables"].map(Path::new);
        let base = base.into_iter().map(|path| files.read(path)).find(|read| !is_missing(read));
        names.add(&base.and_then(io::Result::ok).unwrap_or_default());
        for path in paths.values() {
            names.add(&files.read(path).unwrap_or_default());
        }
        names
    }

    /// One file: `NUMBER NAME` lines, numbers decimal or 0x-hexadecimal, `#` begins a comment.
    pub fn add(&mut self, text: &[u8]) {
        for line in String::from_utf8_lossy(text).lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            if let (Some(number), Some(name)) = (words.next(), words.next()) {
                let number = match number.strip_prefix("0x") {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => number.parse(),
                };
                if let Ok(number) = number {
                    self.0.insert(name.to_string(), number);
                }
            }
        }
    }

    /// The number of a table given by name or number, as iproute2 reads it (lib/rt_names.c `rtnl_rttable_a2n`).
    pub fn number(&self, table: &str) -> Option<u32> {
        let builtin = match table {
            "main" => Some(MAIN),
            "default" => Some(DEFAULT),
            "local" => Some(LOCAL),
            _ => number(table),
        };
        self.0.get(table).copied().or(builtin)
    }

    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.values().copied()
    }
}

/// A table, by its number if it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    Number(u32),
    Name(String),
}

impl Table {
    /// Is it one of the kernel's tables?
    pub(crate) fn is_reserved(&self) -> bool {
        matches!(self, Table::Number(number) if RESERVED.contains(number))
    }

    pub(crate) fn number(&self) -> Option<u32> {
        if let Table::Number(number) = self { Some(*number) } else { None }
    }

    /// As in commands.
    pub(crate) fn text(&self) -> String {
        match self {
            Table::Number(number) => number.to_string(),
            Table::Name(name) => name.clone(),
        }
    }
}

/// The table of a command; nothing for a rule with another action than a lookup.
pub(crate) fn table(command: &Command, names: &Names) -> Option<Table> {
    let Some(text) = command.get("table") else {
        let elsewhere = ["type", "goto", "l3mdev"].into_iter().any(|other| command.get(other).is_some());
        return (command.object == Object::Route || !elsewhere).then_some(Table::Number(MAIN));
    };
    Some(names.number(text).map_or_else(|| Table::Name(text.to_string()), Table::Number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_iproute2_reads() {
        let mut names = Names::default();
        names.add(b"# reserved\n255\tlocal\n0x64 isp1 # first\n 7  lab\nx y\n9\n");
        assert_eq!(names.numbers().collect::<Vec<_>>(), [100, 7, 255]);
        assert_eq!(names.number("isp1"), Some(100));
        assert_eq!(names.number("12"), Some(12));
        assert_eq!(names.number("0x64"), Some(100));
        assert_eq!(names.number("none"), None);
    }
}
