//! Rules: does each that comes go again, and does it lead to the right table?

use std::collections::{BTreeSet, HashMap, HashSet};

use super::host::Table;
use super::{Judge, Line};
use crate::interfaces::Severity;
use crate::interfaces::command::{Command, Object, Verb, number};
use crate::tables::RESERVED;

/// Free priorities for rules that have none. Without one, the kernel puts a rule before all others, so what comes
/// later in the file has to have the smaller number.
pub(super) fn propose(lines: &[Line], in_use: &HashSet<u32>) -> HashMap<usize, u32> {
    let rules = || lines.iter().enumerate().filter(|(_, line)| line.command.object == Object::Rule);
    let used: HashSet<u32> = rules().filter_map(|(_, line)| line.command.priority()).collect();
    let without =
        rules().filter(|(_, line)| line.phase.is_up() && line.command.adds() && line.command.get("priority").is_none());
    let free = (10..).map(|tens| tens * 10).filter(|priority| !used.contains(priority) && !in_use.contains(priority));
    without.map(|(at, _)| at).rev().zip(free).collect()
}

impl Judge<'_> {
    /// Would this deletion remove the rule that the other adds? (net/core/fib_rules.c `rule_find`: what is not
    /// given is not compared.)
    pub(super) fn removes(&self, deletion: &Command, addition: &Command) -> bool {
        deletion.inet6 == addition.inet6
            && deletion.given().all(|(keyword, value)| match keyword {
                "not" => true,
                "table" => self.table(deletion) == self.table(addition),
                "from" | "to" => self.same_side(keyword, deletion, addition),
                "priority" | "tun_id" | "suppress_prefixlength" => {
                    addition.get(keyword).is_some_and(|other| number(other) == number(value))
                }
                _ => addition.get(keyword) == Some(value),
            })
    }

    fn same_side(&self, side: &str, one: &Command, other: &Command) -> bool {
        match (one.prefix(side), other.prefix(side)) {
            (Some(net), _) if net.prefix_len() == 0 => true,
            (Some(net), Some(other)) => net == other,
            _ => one.get(side) == other.get(side),
        }
    }

    /// Does each rule that is added go, and does each that goes come?
    pub(super) fn rules(&mut self) {
        let added: Vec<usize> = self.added_rules().map(|(at, _)| at).collect();
        let deletions: Vec<usize> = self
            .lines()
            .filter(|(_, line)| line.command.object == Object::Rule && line.command.verb == Verb::Delete)
            .map(|(at, _)| at)
            .collect();
        let mut of_stanza: HashMap<usize, Vec<usize>> = HashMap::new();
        for at in &added {
            of_stanza.entry(self.line(*at).stanza).or_default().push(*at);
        }
        let mut unmatched = Vec::new();
        for at in deletions {
            let line = self.line(at);
            let matching = |other: &&usize| {
                let removes = |command| self.removes(&line.command, command);
                let (written, meant) = (&self.line(**other).command, &self.meant[**other].command);
                !self.gone.contains(*other) && (removes(written) || removes(meant))
            };
            let distance = |other: &&usize| self.link(self.line(**other)) != self.link(line);
            let beside = of_stanza.get(&line.stanza).into_iter().flatten().find(matching);
            match beside.or_else(|| added.iter().filter(matching).min_by_key(distance)) {
                Some(other) => _ = self.gone.insert(*other),
                None if !line.phase.is_up() && line.command.refused.is_none() => unmatched.push(at),
                None => {}
            }
        }
        let with_deletion = self.gone.clone();
        for at in unmatched {
            self.useless_deletion(at, &added);
        }
        let flushes: Vec<(bool, Option<Table>)> = self
            .lines()
            .filter(|(_, line)| line.command.object == Object::Rule && line.command.verb == Verb::Flush)
            .map(|(_, line)| (line.command.inet6, line.command.get("table").and_then(|_| self.table(&line.command))))
            .collect();
        let flushed = |command: &Command| {
            flushes.iter().any(|(inet6, table)| {
                *inet6 == command.inet6
                    && table.as_ref().is_none_or(|table| self.table(command).as_ref() == Some(table))
            })
        };
        let stays = |at: &&usize| {
            let command = &self.line(**at).command;
            !self.gone.contains(*at) && !command.conditional && !flushed(command)
        };
        let left: Vec<usize> = added.iter().filter(stays).copied().collect();
        self.by_stanza(&left, Self::leaks);
        let unnumbered: Vec<usize> = added
            .into_iter()
            .filter(|at| with_deletion.contains(at) && self.line(*at).command.get("priority").is_none())
            .collect();
        self.by_stanza(&unnumbered, Self::unnumbered);
    }

    /// Calls `say` with the lines of each stanza.
    fn by_stanza(&mut self, lines: &[usize], say: fn(&mut Self, &[usize])) {
        for group in lines.chunk_by(|a, b| self.finder.lines[*a].stanza == self.finder.lines[*b].stanza) {
            say(self, group);
        }
    }

    /// A deletion on the way down that meets no rule.
    fn useless_deletion(&mut self, at: usize, added: &[usize]) {
        let line = self.line(at);
        let shared = |other: &usize| {
            let other = &self.line(*other).command;
            let same = |side: &str| {
                line.command.get(side).is_some()
                    && other.get(side).is_some()
                    && self.same_side(side, &line.command, other)
            };
            let sides = ["from", "to", "fwmark", "iif", "oif"].into_iter().filter(|side| same(side)).count();
            if other.inet6 == line.command.inet6 { sides } else { 0 }
        };
        let similar = added
            .iter()
            .filter(|other| !self.gone.contains(*other) && shared(other) > 0)
            .max_by_key(|other| (shared(other), self.line(**other).stanza == line.stanza));
        if let Some(&similar) = similar {
            let other = &self.meant[similar].command;
            let differs = |keyword: &str| other.get(keyword) != line.command.get(keyword);
            let own = |command: &Command, keyword: &str| command.get(keyword).unwrap_or("none").to_string();
            let what = ["table", "priority", "from", "to", "fwmark", "iif", "oif"].into_iter().find(|it| differs(it));
            let (word, what) = match what {
                Some(keyword) => {
                    let (its, here) = (own(other, keyword), own(&line.command, keyword));
                    (line.command.said(keyword), format!("'{keyword} {its}', and this line says '{keyword} {here}'"))
                }
                None => (String::new(), "other words".to_string()),
            };
            let message = format!("this deletes no rule: the one that is added has {what}, and stays");
            let help = format!("Write '{}'.", other.with_verb("del"));
            self.gone.insert(similar);
            self.warn("hand-written-never-matches", at, &word, message, help);
            return;
        }
        // A second deletion of the same rule does no harm.
        if added.iter().any(|other| self.removes(&line.command, &self.line(*other).command)) {
            return;
        }
        let message = match line.command.get("from") {
            Some(from) => {
                format!("no line adds the rule that this one deletes: what {from} sends goes by main's default route")
            }
            None => "no line adds the rule that this one deletes".to_string(),
        };
        let help = format!("Add 'post-up {}', or take this line out.", line.command.with_verb("add"));
        self.warn("hand-written-never-matches", at, "", message, help);
    }

    /// The lines that add rules and take them away again, each with a priority.
    fn whole(&self, lines: &[usize]) -> String {
        let mut out = String::new();
        for at in lines {
            let (add, del) = (self.meant[*at].command.text(), self.meant[*at].command.with_verb("del"));
            let option = self.line(*at).phase.option();
            let priority = self.proposed.get(at).map_or(String::new(), |priority| format!(" priority {priority}"));
            out += &format!("\n{option} {add}{priority}\npre-down {del}{priority}");
        }
        out
    }

    fn leaks(&mut self, lines: &[usize]) {
        let first = self.line(lines[0]);
        let what = match lines.len() {
            1 => "this rule".to_string(),
            2 => "this rule, nor the next one".to_string(),
            more => format!("this rule, nor the {} others of its stanza", more - 1),
        };
        let then = match (first.command.get("priority"), first.command.heeded) {
            (None, _) => "each 'ifdown' and 'ifup' adds another copy, with an ever smaller priority",
            (Some(_), true) => "the next 'ifup' stops here with \"File exists\"",
            (Some(_), false) => "it stays while its table is empty",
        };
        let message = format!("nothing takes away {what}: {then}");
        let help = format!("In its place write{}", self.whole(lines));
        self.warn("hand-written-leaks", lines[0], "rule", message, help);
    }

    fn unnumbered(&mut self, lines: &[usize]) {
        let message = "without a priority the kernel chooses one, and an 'ifup' that is run again adds a second copy of \
                       this rule, which 'ifdown' leaves behind";
        let help = format!("In place of these lines write{}", self.whole(lines));
        self.say(Severity::Hint, "hand-written-no-priority", lines[0], "rule", message.into(), help);
    }

    /// Does a rule lead to a table with routes, out by the link that has the address?
    pub(super) fn rules_and_their_tables(&mut self) {
        let routes: Vec<(Table, bool, Option<String>, usize)> = self
            .host
            .roads
            .iter()
            .map(|road| {
                let line = self.line(road.at);
                let default = line.command.is_default();
                (road.table.clone(), default, default.then(|| self.leaves_by(line)).flatten(), line.stanza)
            })
            .collect();
        let looked_up: HashSet<Table> = self.added_rules().filter_map(|(_, line)| self.table(&line.command)).collect();
        let rules: Vec<usize> = self.added_rules().map(|(at, _)| at).collect();
        let mut empty = HashSet::new();
        for at in rules {
            let line = self.line(at);
            let Some(table) = self.table(&line.command) else { continue };
            let by_symroute = self.host.by_symroute.contains(&table);
            if by_symroute || matches!(table, Table::Number(number) if RESERVED.contains(&number)) {
                continue;
            }
            let written = line.command.get("table").unwrap_or_default().to_string();
            let Some(from) = line.command.get("from").map(str::to_string) else {
                self.towards_own_address(at);
                continue;
            };
            if from.contains('$') || written.contains('$') {
                continue;
            }
            let owner = self.owner(&from, line.command.inet6).map(str::to_string);
            if !routes.iter().any(|(other, ..)| *other == table) {
                let own = routes.iter().filter(|(_, _, _, stanza)| *stanza == line.stanza);
                let idle = own.map(|(table, ..)| table).find(|other| {
                    !looked_up.contains(*other) && !matches!(other, Table::Number(number) if RESERVED.contains(number))
                });
                let idle = idle.map(|table| match table {
                    Table::Number(number) => number.to_string(),
                    Table::Name(name) => name.clone(),
                });
                if idle.is_none() && owner.is_none() || !empty.insert(table) {
                    continue;
                }
                let word = line.command.said("table");
                let Some(other) = idle else {
                    let message = format!(
                        "no line puts a route into table {written}: what {from} sends goes by main's default route"
                    );
                    let help = format!(
                        "Add 'post-up ip route add default via GATEWAY dev {} table {written}' to the stanza.",
                        self.link(line)
                    );
                    self.warn("hand-written-wrong-table", at, &word, message, help);
                    continue;
                };
                let message = format!(
                    "this rule looks into table {written}, and the routes are in table {other}: it finds nothing"
                );
                let help = self.correct_table(at, &other);
                self.warn("hand-written-wrong-table", at, &word, message, help);
                continue;
            }
            let ways: Option<BTreeSet<&String>> = routes
                .iter()
                .filter(|(other, default, ..)| *other == table && *default)
                .map(|(_, _, link, _)| link.as_ref())
                .collect();
            if let (Some(ways), Some(owner)) = (ways, owner) {
                let known = ways.iter().all(|way| self.is_stanza_link(way));
                if known && !ways.is_empty() && !ways.contains(&owner) {
                    let way = ways.into_iter().next().cloned().unwrap_or_default();
                    let right = routes.iter().find(|(_, default, link, _)| *default && link.as_ref() == Some(&owner));
                    let right = right.map(|(table, ..)| match table {
                        Table::Number(number) => number.to_string(),
                        Table::Name(name) => name.clone(),
                    });
                    let message = format!(
                        "{from} is {owner}'s address, and the default route of table {written} leaves by {way}: its answers go out there"
                    );
                    let help = match right {
                        Some(right) => self.correct_table(at, &right),
                        None => format!("Let the rule look into a table whose default route leaves by {owner}."),
                    };
                    let word = self.line(at).command.said("table");
                    self.warn("hand-written-wrong-table", at, &word, message, help);
                }
            }
        }
    }

    /// Notes and proposes another table for a rule.
    fn correct_table(&mut self, at: usize, table: &str) -> String {
        let written = self.line(at).command.clone();
        let meant = &mut self.meant[at].command;
        meant.set("table", table);
        let text = meant.text();
        let also = self.lines().any(|(_, other)| {
            !other.phase.is_up()
                && other.command.verb == Verb::Delete
                && other.command.object == Object::Rule
                && self.removes(&other.command, &written)
        });
        format!("Write '{text}'{}.", if also { ", and the same table where it is deleted" } else { "" })
    }

    /// A rule for packets *to* the server's own address: table local has had them before.
    fn towards_own_address(&mut self, at: usize) {
        let line = self.line(at);
        let Some(to) = line
            .command
            .get("to")
            .filter(|_| line.command.given().all(|(it, _)| matches!(it, "to" | "table" | "priority")))
        else {
            return;
        };
        let own = self.owner(to, line.command.inet6).is_some();
        let twin = self.added_rules().any(|(_, other)| {
            other.command.get("from").is_some() && self.table(&other.command) == self.table(&line.command)
        });
        if own && !twin {
            let message =
                format!("this rule matches nothing: packets to {to} are the server's own, and table local comes first");
            let corrected = line.command.text().replacen(" to ", " from ", 1);
            self.warn("hand-written-never-matches", at, "to", message, format!("Is 'from' meant? '{corrected}'"));
        }
    }
}
