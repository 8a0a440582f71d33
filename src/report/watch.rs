//! Whether `symroute watch` runs, and what it changed last.

use serde_json::{Value, json};

use crate::check::facts::Running;

/// One line. `now` is in seconds since 1970 in UTC.
pub fn watch_summary(running: Option<&Running>, now: u64) -> String {
    let Some(running) = running else { return "symroute watch is not running.\n".into() };
    let duration = duration(now.saturating_sub(running.since));
    format!("symroute watch has been running for {duration} (process {}).\n", running.pid)
}

/// The same, with its last change.
pub fn watch_text(running: Option<&Running>, now: u64) -> String {
    let mut text = watch_summary(running, now);
    let Some(running) = running else { return text };
    if let Some(change) = &running.last_change {
        text += &format!("Its last change, {} ago:\n", duration(now.saturating_sub(change.time)));
        text.extend(change.lines.iter().map(|line| format!("    {line}\n")));
    }
    text
}

/// Null where it does not run.
pub fn watch_json(running: Option<&Running>) -> Value {
    let change = |running: &Running| {
        running.last_change.as_ref().map(|change| json!({"time": change.time, "lines": change.lines}))
    };
    running.map_or(
        Value::Null,
        |running| json!({"pid": running.pid, "since": running.since, "last_change": change(running)}),
    )
}

/// In the largest unit that it has two of.
fn duration(seconds: u64) -> String {
    let units = [(86400, "days"), (3600, "hours"), (60, "minutes")];
    let unit = units.into_iter().find(|(length, _)| seconds >= 2 * length);
    match unit {
        Some((length, name)) => format!("{} {name}", seconds / length),
        None => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::LastChange;

    #[test]
    fn says_since_when_and_what() {
        assert_eq!(watch_text(None, 0), "symroute watch is not running.\n");
        let mut running = Running { pid: 812, since: 1000, last_change: None };
        assert_eq!(watch_text(Some(&running), 1090), "symroute watch has been running for 90 s (process 812).\n");
        running.last_change = Some(LastChange { time: 87400, lines: vec!["eth1 (IPv4): added 3 rules".into()] });
        assert_eq!(
            watch_text(Some(&running), 1000 + 3 * 86400),
            "symroute watch has been running for 3 days (process 812).\nIts last change, 2 days ago:\n    \
             eth1 (IPv4): added 3 rules\n"
        );
        assert_eq!(watch_text(Some(&running), 0).lines().count(), 3, "a clock that was set back");
        let json = watch_json(Some(&running));
        assert_eq!(json["last_change"]["lines"][0], "eth1 (IPv4): added 3 rules");
        assert_eq!((watch_json(None), json["since"].as_u64()), (Value::Null, Some(1000)));
    }
}
