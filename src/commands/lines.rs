//! The `ip` commands that the administrator wrote into stanzas, each with the phase in which ifupdown runs it.

use bstr::{BStr, ByteSlice};

use super::command::{Command, Object, Verb};
use super::script::for_each_command;
use super::tables::{MAIN, Names};
use crate::interfaces::listed::Listed;
use crate::interfaces::{Config, Entry, Location, Stanza};

/// When ifupdown runs a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    PreUp,
    Up,
    Down,
    PostDown,
}

impl Phase {
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"pre-up" => Phase::PreUp,
            b"up" => Phase::Up,
            b"down" => Phase::Down,
            b"post-down" => Phase::PostDown,
            _ => return None,
        })
    }

    pub(crate) fn is_up(self) -> bool {
        matches!(self, Phase::PreUp | Phase::Up)
    }

    /// The name of the option to suggest.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Phase::PreUp => "pre-up",
            Phase::Up => "post-up",
            Phase::Down => "pre-down",
            Phase::PostDown => "post-down",
        }
    }
}

/// An `ip` command in a stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Index into `Config::stanzas`.
    pub stanza: usize,
    pub phase: Phase,
    pub location: Location,
    pub command: Command<'a>,
}

impl Line<'_> {
    pub(crate) fn adds_rule(&self) -> bool {
        self.phase.is_up() && self.command.object == Object::Rule && self.command.adds()
    }

    /// On the way down.
    pub(crate) fn deletes_route(&self) -> bool {
        !self.phase.is_up() && self.command.object == Object::Route && self.command.verb == Verb::Delete
    }

    /// Gives back the memory for further words and values.
    pub(crate) fn shrunk(mut self) -> Self {
        self.command.shrink();
        self
    }

    /// A rule, or a route in another table than main.
    pub fn is_policy(&self, names: &Names) -> bool {
        match self.command.object {
            Object::Rule => true,
            Object::Route => self.command.get("table").is_some_and(|table| names.number(table) != Some(MAIN)),
            Object::Address => false,
        }
    }
}

/// All `ip` commands that are not symroute-gen's, by stanza.
pub(crate) fn lines<'a>(config: &'a Config, listed: &Listed) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for_each_line(config, listed, &mut |line| {
        lines.push(line.shrunk());
        true
    });
    lines
}

/// Does any of them satisfy a condition? None is kept: most files have none.
pub(crate) fn any_line(config: &Config, listed: &Listed, condition: &dyn Fn(&Line) -> bool) -> bool {
    let mut is_found = false;
    for_each_line(config, listed, &mut |line| {
        is_found |= condition(&line);
        !is_found
    });
    is_found
}

/// The same, one after the other, while `found` returns true: most are for interfaces that are no uplinks, and need not be
/// kept.
pub(crate) fn for_each_line<'a>(config: &'a Config, listed: &Listed, found: &mut dyn FnMut(Line<'a>) -> bool) {
    let names = config.names(|name| may_be_command(name));
    if names.is_empty() {
        return;
    }
    for (index, stanza) in config.stanzas.iter().enumerate() {
        for entry in config.entries_named(stanza, &names).filter(|entry| !entry.in_block) {
            let Some((phase, value)) = phase_and_script(&entry) else { continue };
            let variable = |name: &str| variable(name, config, stanza, listed);
            let mut goes_on = true;
            for_each_command(&value.to_str_lossy(), &variable, &mut |command| {
                goes_on = goes_on && found(Line { stanza: index, phase, location: entry.location, command });
            });
            if !goes_on {
                return;
            }
        }
    }
}

fn may_be_command(name: &[u8]) -> bool {
    matches!(name, b"post" | b"pre") || Phase::of(name).is_some()
}

/// `post up ip …` never runs; `lint` warns about it. Its commands count as intended.
fn phase_and_script<'a>(entry: &Entry<'a>) -> Option<(Phase, &'a [u8])> {
    let name = &entry.name[..];
    if !matches!(name, b"post" | b"pre") {
        return Some((Phase::of(name)?, entry.value));
    }
    let (word, script) = entry.value.split_once_str(" ")?;
    let phase = match (name, word) {
        (b"pre", b"up") => Phase::PreUp,
        (b"post", b"up") => Phase::Up,
        (b"pre", b"down") => Phase::Down,
        (b"post", b"down") => Phase::PostDown,
        _ => return None,
    };
    Some((phase, script))
}

/// The environment that ifupdown gives to a stanza's lines (interfaces(5)).
fn variable(name: &str, config: &Config, stanza: &Stanza, listed: &Listed) -> Option<String> {
    let text = |bytes: &[u8]| bytes.to_str_lossy().into_owned();
    match name {
        "IFACE" => Some(text(listed.first_link(stanza))),
        "LOGICAL" => Some(text(&stanza.interface)),
        "ADDRFAM" => Some(stanza.family.name().into()),
        "METHOD" => Some(text(&stanza.method)),
        _ => {
            let wanted = name.strip_prefix("IF_")?;
            let named = |option: &BStr| option.to_str_lossy().to_uppercase().replace('-', "_") == wanted;
            let entry = config.entries(stanza).find(|entry| named(entry.name.as_bstr()))?;
            let value = text(entry.value);
            Some(match wanted {
                "ADDRESS" => value.split('/').next().unwrap_or_default().to_string(),
                _ => value,
            })
        }
    }
}
