//! Rules: is each added rule deleted again, and does it look up the right table?

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use super::added::SIDES;
use super::lint::ManualPolicyLint;
use super::removal::{Removal, is_unknown, of_local_rule, of_rule};
use crate::commands::lines::Line;
use crate::commands::tables::Table;
use crate::commands::{Command, Object, Verb};
use crate::sort::sort_by_key;

/// The tables of the lines.
#[derive(Default)]
struct Tables {
    /// Tables that rules look up.
    looked_up: FxHashSet<Table>,
    /// Tables of the routes of a stanza.
    of_stanza: FxHashMap<usize, Vec<Table>>,
    /// The links of a table's default routes; nothing if one of them is unknown.
    links: FxHashMap<Table, Option<BTreeSet<String>>>,
    /// The table whose default route leaves through an interface.
    of_link: FxHashMap<String, Table>,
}

impl Tables {
    fn new(lint: &ManualPolicyLint) -> Self {
        let rules = lint.added_rules().filter_map(|(_, line)| lint.table(&line.command));
        let mut tables = Tables { looked_up: rules.collect(), ..Tables::default() };
        for manual_route in &lint.host.manual_routes {
            let line = lint.line(manual_route.line);
            tables.of_stanza.entry(line.stanza).or_default().push(manual_route.table.clone());
            if !line.command.is_default() {
                continue;
            }
            let links = tables.links.entry(manual_route.table.clone()).or_insert_with(|| Some(BTreeSet::new()));
            match lint.leaves_by(line) {
                None => *links = None,
                Some(link) => {
                    links.iter_mut().for_each(|links| _ = links.insert(link.clone()));
                    tables.of_link.entry(link).or_insert_with(|| manual_route.table.clone());
                }
            }
        }
        tables
    }
}

/// What a deletion removes: lines that add a rule.
struct Removed {
    /// The rule that the deletion is intended for.
    intended: Option<usize>,
    /// The rule of another interface that the kernel finds first.
    instead: Option<usize>,
}

/// Deletions of rules that have a mistake.
#[derive(Default)]
struct Deletions {
    /// They match no added rule.
    unmatched: Vec<usize>,
    /// They match the kernel's rule for table local, each with the rule that it is intended for.
    of_local: Vec<(usize, Option<usize>)>,
    /// They match a rule of another interface first, each with the rules.
    of_others: Vec<RuleOfAnother>,
}

struct RuleOfAnother {
    deletion: usize,
    intended: usize,
    first: usize,
}

impl ManualPolicyLint<'_> {
    /// Would this deletion remove the rule that the other adds?
    pub(crate) fn removes(&self, deletion: &Command, addition: &Command) -> bool {
        of_rule(deletion, addition, self.collector.names) == Removal::Yes
    }

    /// Would this deletion remove the rule of a line, as it is written or as it was corrected?
    fn removal(&self, deletion: &Command, index: usize) -> Removal {
        let of = |addition| of_rule(deletion, addition, self.collector.names);
        of(&self.line(index).command).max(of(&self.corrected[index].command))
    }

    /// Rules that a deletion may remove, as far as no variable decides.
    pub(crate) fn removable(&self, deletion: &Command) -> &[usize] {
        self.added.removable(deletion, self.collector.names)
    }

    /// What a deletion removes. `removed_here` are the rules that lines of its stanza have removed.
    fn removed(&self, index: usize, removed_here: &FxHashSet<usize>) -> Removed {
        let line = self.line(index);
        let is_own = |other: &&usize| self.line(**other).stanza == line.stanza;
        let is_same_interface = |other: &&usize| self.link(self.line(**other)) == self.link(line);
        let is_open = |other: &&usize| !self.deleted.contains(*other);
        let mut matching: Vec<usize> = self.removable(&line.command).to_vec();
        matching.retain(|other| self.removal(&line.command, *other) == Removal::Yes);
        sort_by_key(&mut matching, |other| self.added.order.get(other));
        let open = || matching.iter().filter(is_open);
        let preferred = open().find(is_own).or_else(|| open().find(is_same_interface));
        let corrected = preferred.or_else(|| open().next()).copied();
        let first = matching.iter().find(|other| !removed_here.contains(*other));
        // An equal rule in another stanza does not matter.
        let is_alike = |one: usize, other: usize| {
            let (one, other) = (&self.line(one).command, &self.line(other).command);
            self.removes(one, other) && self.removes(other, one)
        };
        let instead = preferred
            .zip(first)
            .filter(|(intended, first)| !is_same_interface(first) && !is_alike(**intended, **first));
        if corrected.is_some() {
            return Removed { intended: corrected, instead: instead.map(|(_, first)| *first) };
        }
        let has_variable = line.command.given().any(|(_, text)| is_unknown(text));
        let candidates = if has_variable { &self.added.lines } else { &self.added.with_variables };
        let mut open = candidates.iter().filter(is_open);
        let distance = |other: &&usize| (!is_own(other), !is_same_interface(other));
        let maybe = open.by_ref().filter(|other| self.removal(&line.command, **other) == Removal::Maybe);
        Removed { intended: maybe.min_by_key(distance).copied(), instead: None }
    }

    fn same_side(&self, side: &str, one: &Command, other: &Command) -> bool {
        match (one.prefix(side), other.prefix(side)) {
            (Some(net), _) if net.prefix_len() == 0 => true,
            (Some(net), Some(other)) => net == other,
            _ => one.get(side) == other.get(side),
        }
    }

    /// Is each added rule deleted, and each deleted rule added?
    pub(crate) fn rules(&mut self) {
        let Deletions { unmatched, of_local, of_others } = self.match_deletions();
        let with_deletion = self.deleted.clone();
        for index in unmatched {
            self.useless_deletion(index);
        }
        for (index, intended) in of_local {
            self.local_rule(index, intended);
        }
        for RuleOfAnother { deletion, intended, first } in of_others {
            self.rule_of_another(deletion, intended, first);
        }
        let added = self.added.lines.clone();
        let flushes = self.flushes();
        let is_flushed = |command: &Command| {
            flushes.iter().any(|(inet6, table)| {
                *inet6 == command.inet6
                    && table.as_ref().is_none_or(|table| self.table(command).as_ref() == Some(table))
            })
        };
        let is_never_deleted = |index: &&usize| {
            let command = &self.line(**index).command;
            !self.deleted.contains(*index) && !command.conditional && !is_flushed(command)
        };
        let never_deleted: Vec<usize> = added.iter().filter(is_never_deleted).copied().collect();
        self.by_stanza(&never_deleted, Self::leaks);
        let unnumbered: Vec<usize> = added
            .into_iter()
            .filter(|index| with_deletion.contains(index) && self.line(*index).command.get("priority").is_none())
            .collect();
        self.by_stanza(&unnumbered, Self::unnumbered);
    }

    /// Finds the rule of each deletion, in the order of the lines.
    fn match_deletions(&mut self) -> Deletions {
        let is_deletion = |line: &Line| line.command.object == Object::Rule && line.command.verb == Verb::Delete;
        let lines: Vec<usize> = self.lines().filter(|(_, line)| is_deletion(line)).map(|(index, _)| index).collect();
        let mut deletions = Deletions::default();
        let (mut stanza, mut removed_here) = (None, FxHashSet::default());
        for index in lines {
            let line = self.line(index);
            if stanza.replace(line.stanza) != Some(line.stanza) {
                removed_here.clear();
            }
            let is_valid = line.command.rejection.is_none();
            let is_useless = !line.phase.is_up() && is_valid;
            let Removed { intended, instead } = self.removed(index, &removed_here);
            // A command that names table or priority moves the rule on purpose.
            let is_named = ["table", "priority"].iter().any(|word| line.command.get(word).is_some());
            if !is_named && is_valid && of_local_rule(&line.command, self.collector.names) {
                deletions.of_local.push((index, intended));
                self.deleted.extend(intended);
                continue;
            }
            match intended {
                Some(intended) => {
                    self.deleted.insert(intended);
                    removed_here.insert(intended);
                    let of_another = instead.map(|first| RuleOfAnother { deletion: index, intended, first });
                    deletions.of_others.extend(of_another);
                }
                None if is_useless => deletions.unmatched.push(index),
                None => {}
            }
        }
        deletions
    }

    /// Commands that flush rules: the family (true for inet6), and the table if they name one.
    fn flushes(&self) -> Vec<(bool, Option<Table>)> {
        let is_flush = |line: &Line| line.command.object == Object::Rule && line.command.verb == Verb::Flush;
        let commands = self.lines().filter(|(_, line)| is_flush(line)).map(|(_, line)| &line.command);
        commands.map(|command| (command.inet6, command.get("table").and_then(|_| self.table(command)))).collect()
    }

    /// Calls `report` with the lines of each stanza.
    fn by_stanza(&mut self, lines: &[usize], report: fn(&mut Self, &[usize])) {
        for group in lines.chunk_by(|a, b| self.collector.lines[*a].stanza == self.collector.lines[*b].stanza) {
            report(self, group);
        }
    }

    /// A deletion with so few selectors that the kernel finds its own rule for table local first.
    fn local_rule(&mut self, index: usize, intended: Option<usize>) {
        let message = "this deletes the kernel's own rule for table local, which is evaluated first: the host then \
                       receives no packets";
        let help = match intended {
            Some(intended) => format!("Write '{}'.", self.corrected[intended].command.with_verb("del")),
            None => "Add the priority or the table of the rule to delete.".to_string(),
        };
        self.warn("manual-deletes-another", index, "", message.to_string(), help);
    }

    /// A deletion with so few selectors that the kernel finds another interface's rule first.
    fn rule_of_another(&mut self, index: usize, intended: usize, first: usize) {
        let (line, other) = (self.line(index), self.line(first));
        let deletion = self.corrected[intended].command.with_verb("del");
        let message = format!(
            "this deletes a rule of {} ('{}'), which the kernel finds first; the rule of {} stays",
            self.link(other),
            other.command.text(),
            self.link(line)
        );
        let is_enough = !self.removes(&self.corrected[intended].command, &other.command);
        let help = match is_enough {
            true => format!("Write '{deletion}'."),
            false => {
                format!("Replace this line and the line that adds the rule with:{}", self.suggested_lines(&[intended]))
            }
        };
        self.warn("manual-deletes-another", index, "", message, help);
    }

    /// A deletion in `down` lines that matches no rule.
    fn useless_deletion(&mut self, index: usize) {
        if let Some(similar) = self.similar_rule(index) {
            self.different_rule(index, similar);
            return;
        }
        let line = self.line(index);
        // A second deletion of the same rule does no harm.
        let mut removable = self.removable(&line.command).iter();
        if removable.any(|other| self.removes(&line.command, &self.line(*other).command)) {
            return;
        }
        let message = match line.command.get("from") {
            Some(from) => {
                format!(
                    "this line deletes a rule that no line adds; without the rule, packets from {from} use the main \
                     table's default route"
                )
            }
            None => "this line deletes a rule that no line adds".to_string(),
        };
        let help = format!("Add 'post-up {}', or remove this line.", line.command.with_verb("add"));
        self.warn("manual-never-matches", index, "", message, help);
    }

    /// The rule without a deletion that has most selectors of this one.
    fn similar_rule(&self, index: usize) -> Option<usize> {
        let line = self.line(index);
        let shared = |other: &usize| {
            let other = &self.line(*other).command;
            let is_shared = |side: &str| {
                line.command.get(side).is_some()
                    && other.get(side).is_some()
                    && self.same_side(side, &line.command, other)
            };
            let sides = SIDES.into_iter().filter(|side| is_shared(side)).count();
            if other.inet6 == line.command.inet6 { sides } else { 0 }
        };
        let candidates = self.added.similar(&line.command, self.collector.names).into_iter();
        candidates
            .filter(|other| !self.deleted.contains(other) && shared(other) > 0)
            .max_by_key(|other| (shared(other), self.line(*other).stanza == line.stanza))
    }

    /// A deletion that differs from the rule that it is probably intended for.
    fn different_rule(&mut self, index: usize, similar: usize) {
        let line = self.line(index);
        let other = &self.corrected[similar].command;
        let value = |command: &Command, keyword: &str| command.get(keyword).unwrap_or("none").to_string();
        let mut keywords = ["table", "priority", "from", "to", "fwmark", "iif", "oif"].into_iter();
        let (word, what) = match keywords.find(|keyword| other.get(keyword) != line.command.get(keyword)) {
            Some(keyword) => {
                let (added, deleted) = (value(other, keyword), value(&line.command, keyword));
                (line.command.written(keyword), format!("'{keyword} {added}', this line has '{keyword} {deleted}'"))
            }
            None => (String::new(), "other selectors".to_string()),
        };
        let message = format!("this deletes no rule; the added rule has {what}");
        let help = format!("Write '{}'.", other.with_verb("del"));
        self.deleted.insert(similar);
        self.warn("manual-never-matches", index, &word, message, help);
    }

    /// The lines that add and delete these rules, each with a priority.
    fn suggested_lines(&self, lines: &[usize]) -> String {
        let mut out = String::new();
        for index in lines {
            let (add, del) = (self.corrected[*index].command.text(), self.corrected[*index].command.with_verb("del"));
            let option = self.line(*index).phase.option();
            let priority =
                self.suggested_priorities.get(index).map_or(String::new(), |priority| format!(" priority {priority}"));
            out += &format!("\n{option} {add}{priority}\npre-down {del}{priority}");
        }
        out
    }

    fn leaks(&mut self, lines: &[usize]) {
        let first = self.line(lines[0]);
        let what = match lines.len() {
            1 => "this rule is".to_string(),
            2 => "this rule and the next one are".to_string(),
            count => format!("this rule and {} others of its stanza are", count - 1),
        };
        let then = match (first.command.get("priority"), first.command.failure_propagates) {
            (None, _) => "every ifdown/ifup adds another copy with a lower priority number",
            (Some(_), true) => "the next 'ifup' aborts here with \"File exists\"",
            (Some(_), false) => "after 'ifdown' its table is empty",
        };
        let message = format!("{what} never deleted; {then}");
        let help = format!("Replace it with:{}", self.suggested_lines(lines));
        self.warn("manual-leaks", lines[0], "rule", message, help);
    }

    fn unnumbered(&mut self, lines: &[usize]) {
        let message = "this rule has no priority: a second 'ifup' adds a second copy, and 'ifdown' deletes only one";
        let help = format!("Replace these lines with:{}", self.suggested_lines(lines));
        self.hint("manual-no-priority", lines[0], "rule", message.into(), help);
    }

    /// Does the table of each rule have routes, and does it use the interface with the address?
    pub(crate) fn rules_and_their_tables(&mut self) {
        let tables = Tables::new(self);
        let mut empty = FxHashSet::default();
        for index in self.added.lines.clone() {
            let line = self.line(index);
            let Some(table) = self.table(&line.command) else { continue };
            if self.host.by_symroute.contains(&table) || table.is_reserved() {
                continue;
            }
            let written = line.command.get("table").unwrap_or_default();
            let Some(from) = line.command.get("from") else {
                self.towards_own_address(index, &table);
                continue;
            };
            if from.contains('$') || written.contains('$') {
                continue;
            }
            let owner = self.owner(from, line.command.inet6).map(str::to_string);
            if self.host.by_table.contains_key(&table) {
                self.table_of_another(index, &table, owner, &tables);
            } else {
                self.table_without_routes(index, table, owner, &tables, &mut empty);
            }
        }
    }

    /// A rule whose table has no route of any line.
    fn table_without_routes(
        &mut self,
        index: usize,
        table: Table,
        owner: Option<String>,
        tables: &Tables,
        empty: &mut FxHashSet<Table>,
    ) {
        let line = self.line(index);
        let command = &line.command;
        let word = command.written("table");
        let written = command.get("table").unwrap_or_default();
        let from = command.get("from").unwrap_or_default();
        let mut idle = tables.of_stanza.get(&line.stanza).into_iter().flatten();
        let idle = idle.find(|other| !tables.looked_up.contains(*other) && !other.is_reserved());
        if idle.is_none() && owner.is_none() || !empty.insert(table) {
            return;
        }
        let Some(other) = idle.map(Table::text) else {
            let message =
                format!("table {written} has no routes: packets from {from} use the default route of the main table");
            let help = format!(
                "Add 'post-up ip route add default via GATEWAY dev {} table {written}' to the stanza.",
                self.link(line)
            );
            self.warn("manual-wrong-table", index, &word, message, help);
            return;
        };
        let message =
            format!("this rule looks up table {written}, but the routes are in table {other}: the rule has no effect");
        let help = self.correct_table(index, &other);
        self.warn("manual-wrong-table", index, &word, message, help);
    }

    /// A rule whose table uses another interface than the one with the address.
    fn table_of_another(&mut self, index: usize, table: &Table, owner: Option<String>, tables: &Tables) {
        let (Some(Some(links)), Some(owner)) = (tables.links.get(table), owner) else { return };
        let are_known = links.iter().all(|link| self.is_stanza_link(link));
        let Some(link) = links.first().filter(|_| are_known && !links.contains(&owner)) else { return };
        let command = &self.line(index).command;
        let word = command.written("table");
        let message = format!(
            "{} is the address of {owner}, but the default route of table {} leaves through {link}: replies use the \
             wrong interface",
            command.get("from").unwrap_or_default(),
            command.get("table").unwrap_or_default(),
        );
        let help = match tables.of_link.get(&owner) {
            Some(right) => self.correct_table(index, &right.text()),
            None => format!("Use a table whose default route leaves through {owner}."),
        };
        self.warn("manual-wrong-table", index, &word, message, help);
    }

    /// Records and suggests another table for a rule.
    fn correct_table(&mut self, index: usize, table: &str) -> String {
        let written = self.line(index).command.clone();
        let corrected = &mut self.corrected[index].command;
        corrected.set("table", table);
        let text = corrected.text();
        let also = self
            .added
            .deletions(&written, self.collector.names)
            .any(|other| self.removes(&self.line(other).command, &written));
        format!("Write '{text}'{}.", if also { ", and use the same table in the line that deletes it" } else { "" })
    }

    /// A rule for packets *to* the host's own address: table local is looked up before.
    fn towards_own_address(&mut self, index: usize, table: &Table) {
        let line = self.line(index);
        let Some(to) = line
            .command
            .get("to")
            .filter(|_| line.command.given().all(|(keyword, _)| matches!(keyword, "to" | "table" | "priority")))
        else {
            return;
        };
        let is_own_address = self.owner(to, line.command.inet6).is_some();
        let has_rule_by_source = self.host.by_source.contains(table);
        if is_own_address && !has_rule_by_source {
            let message =
                format!("this rule never matches: {to} is an address of this host, and table local is evaluated first");
            let corrected = line.command.text().replacen(" to ", " from ", 1);
            self.warn(
                "manual-never-matches",
                index,
                "to",
                message,
                format!("Did you mean 'from'? Write '{corrected}'."),
            );
        }
    }
}
