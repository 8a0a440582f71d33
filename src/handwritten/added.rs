//! The rules that lines add, by their selectors.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::removal::is_unknown;
use crate::commands::lines::Line;
use crate::commands::tables::{Names, Table, table};
use crate::commands::{Command, Object, Verb, number};

/// Priority of the rule that looks main up (fib_default_rules_init).
const MAIN_PRIORITY: u32 = 32_766;

/// Free priorities for rules without one, by line. The kernel puts a rule without a priority before all others, so later
/// lines get smaller numbers.
pub(crate) fn suggest_priorities(lines: &[Line], in_use: &FxHashSet<u32>) -> FxHashMap<usize, u32> {
    let rules = || lines.iter().enumerate().filter(|(_, line)| line.command.object == Object::Rule);
    let used: FxHashSet<u32> = rules().filter_map(|(_, line)| line.command.priority()).collect();
    let without =
        rules().filter(|(_, line)| line.phase.is_up() && line.command.adds() && line.command.get("priority").is_none());
    let free = (10..).map(|tens| tens * 10).filter(|priority| !used.contains(priority) && !in_use.contains(priority));
    without.map(|(index, _)| index).rev().zip(free).collect()
}

/// The value of a selector of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Selected {
    Network(IpNet),
    Text(String),
}

/// A selector of a rule, its family (true for inet6) and its value.
type Selector = (&'static str, bool, Selected);

/// Rules that lines add, in file order and by their selectors.
#[derive(Default)]
pub(crate) struct AddedRules {
    pub(crate) lines: Vec<usize>,
    by_selector: FxHashMap<Selector, Vec<usize>>,
    /// Rules with a variable in a value.
    pub(super) with_variables: Vec<usize>,
    /// The position of each rule in the kernel's order.
    pub(super) order: FxHashMap<usize, (u32, usize)>,
    /// `down` lines that delete a rule, by their narrowest selector.
    deletions: FxHashMap<Option<Selector>, Vec<usize>>,
}

pub(super) const SIDES: [&str; 5] = ["from", "to", "fwmark", "iif", "oif"];
const NARROW: [&str; 4] = ["from", "to", "priority", "table"];

impl AddedRules {
    pub(crate) fn new(lines: &[Line], names: &Names) -> Self {
        let mut added = AddedRules::default();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.adds_rule()) {
            added.lines.push(index);
            let table = table(&line.command, names).map(|table| selected_table(&line.command, &table));
            let sides = SIDES.into_iter().chain(["priority"]).filter_map(|side| selector(&line.command, side, names));
            for selector in sides.chain(table) {
                added.by_selector.entry(selector).or_default().push(index);
            }
            let texts = line.command.given().any(|(_, text)| is_unknown(text));
            added.with_variables.extend(texts.then_some(index));
        }
        added.order = order(lines, &added.lines);
        let is_deletion = |line: &Line| line.command.object == Object::Rule && line.command.verb == Verb::Delete;
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.phase.is_up() && is_deletion(line)) {
            added.deletions.entry(narrow(&line.command, names)).or_default().push(index);
        }
        added
    }

    fn with(&self, selector: &Selector) -> &[usize] {
        self.by_selector.get(selector).map_or(&[], Vec::as_slice)
    }

    /// Rules from one of these addresses.
    pub(crate) fn from(&self, addresses: &[IpAddr], inet6: bool) -> BTreeSet<usize> {
        let selected = |address: &IpAddr| ("from", inet6, Selected::Network(IpNet::from(*address)));
        addresses.iter().flat_map(|address| self.with(&selected(address))).copied().collect()
    }

    /// Rules that a deletion may remove, if no variable decides it.
    pub(crate) fn removable(&self, deletion: &Command, names: &Names) -> &[usize] {
        narrow(deletion, names).map_or(&self.lines, |selector| self.with(&selector))
    }

    /// `down` lines that may delete a rule.
    pub(super) fn deletions(&self, rule: &Command, names: &Names) -> impl Iterator<Item = usize> {
        let selectors = NARROW.into_iter().filter_map(|side| selector(rule, side, names)).map(Some).chain([None]);
        selectors.filter_map(|selector| self.deletions.get(&selector)).flatten().copied()
    }

    /// Rules that have a selector of the command.
    pub(super) fn similar(&self, command: &Command, names: &Names) -> BTreeSet<usize> {
        let selectors: Vec<Selector> = SIDES.into_iter().filter_map(|side| selector(command, side, names)).collect();
        match selectors.iter().any(|(_, _, selected)| is_everything(selected)) {
            true => self.lines.iter().copied().collect(),
            false => selectors.iter().flat_map(|selector| self.with(selector)).copied().collect(),
        }
    }
}

/// The position of each rule in the kernel if the lines run in file order: by priority, and a rule without one before all
/// others. (net/core/fib_rules.c `fib_default_rule_pref`)
fn order(lines: &[Line], added: &[usize]) -> FxHashMap<usize, (u32, usize)> {
    // A rule without a priority is put before the second rule, which is that of the main table at first.
    let mut first = [MAIN_PRIORITY; 2];
    let mut order = FxHashMap::default();
    for index in added {
        let command = &lines[*index].command;
        let first = &mut first[usize::from(command.inet6)];
        let priority = command.priority().unwrap_or(first.saturating_sub(1));
        *first = (*first).min(priority);
        order.insert(*index, (priority, *index));
    }
    order
}

/// The narrowest selector of a deletion; nothing if it may match any rule.
fn narrow(deletion: &Command, names: &Names) -> Option<Selector> {
    let mut selectors = NARROW.into_iter().filter_map(|side| selector(deletion, side, names));
    selectors.find(|(_, _, selected)| !is_everything(selected))
}

fn selected_table(command: &Command, table: &Table) -> Selector {
    ("table", command.inet6, Selected::Text(table.text()))
}

fn selector(command: &Command, side: &'static str, names: &Names) -> Option<Selector> {
    let text = command.get(side)?;
    if side == "table" {
        return table(command, names).map(|table| selected_table(command, &table));
    }
    let net = match side {
        "from" | "to" => command.prefix(side),
        _ => None,
    };
    let number =
        || if matches!(side, "priority" | "fwmark") { number(text).map(|number| number.to_string()) } else { None };
    let selected = net.map_or_else(|| Selected::Text(number().unwrap_or_else(|| text.to_string())), Selected::Network);
    Some((side, command.inet6, selected))
}

fn is_everything(selected: &Selected) -> bool {
    matches!(selected, Selected::Network(net) if net.prefix_len() == 0)
}
