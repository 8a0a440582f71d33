//! `symroute observe`: asymmetry made on purpose is seen and named; on a healthy server nothing is reported.

pub mod asymmetry;
pub mod bad;
pub mod healthy;
pub mod load;

use std::cell::RefCell;

use serde_json::Value;

use crate::check::{Schema, assert_fits};
use crate::judge::state;
use crate::world::{Holder, Host, World};

/// `symroute observe --json` that runs on a host.
pub struct Observer<'a> {
    server: &'a Host,
    process: RefCell<Option<Holder>>,
    file: String,
}

/// What it printed, and its exit code.
pub struct Observed {
    pub code: i32,
    pub events: Vec<Value>,
    pub text: String,
}

const WAIT: &str =
    "for n in $(seq 100); do grep -q '\"begin\"' FILE && exit; [ ! -s FILE.code ] || break; sleep 0.1; done
    cat FILE FILE.error; exit 1";

impl<'a> Observer<'a> {
    /// Starts it, and waits until it counts packets.
    pub fn start(server: &'a Host, arguments: &str) -> Self {
        Observer::named(server, "/tmp/observed", arguments)
    }

    pub fn named(server: &'a Host, file: &str, arguments: &str) -> Self {
        server.ok(&format!("rm -f {file} {file}.code {file}.error; touch {file}"));
        let command = format!("echo $$ >{file}.pid; exec symroute observe --json {arguments}");
        let script = format!("sh -c '{command}' >{file} 2>{file}.error; echo $? >{file}.code");
        let process = server.in_background(&script);
        server.ok(&WAIT.replace("FILE", file));
        Observer { server, process: RefCell::new(Some(process)), file: file.into() }
    }

    /// Ends it as Ctrl-C does, and returns what it has printed.
    pub fn finish(&self) -> Observed {
        let file = &self.file;
        self.server.run(&format!("kill -INT $(cat {file}.pid)"));
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&self) -> Observed {
        let file = &self.file;
        let wait = format!("for n in $(seq 300); do [ -s {file}.code ] && exit; sleep 0.1; done; exit 1");
        self.server.ok(&wait);
        let text = self.server.ok(&format!("cat {file}"));
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        events.iter().for_each(|event| assert_fits(Schema::Observe, event));
        let code = self.server.ok(&format!("cat {file}.code")).trim().parse().expect("a number");
        drop(self.process.take());
        Observed { code, events, text: text + &self.server.ok(&format!("cat {file}.error")) }
    }
}

impl Observed {
    /// The last counts of each kind of flow.
    pub fn last(&self) -> Vec<&Value> {
        let mut last: Vec<(String, &Value)> = Vec::new();
        for event in self.events.iter().filter(|event| event["event"] == "flows") {
            last.retain(|(known, _)| *known != key(event));
            last.push((key(event), event));
        }
        last.into_iter().map(|(_, event)| event).collect()
    }

    /// Those of faults.
    pub fn faults(&self) -> Vec<&Value> {
        self.last().into_iter().filter(|event| event["fault"] == true).collect()
    }

    /// The link's counts at the end.
    pub fn link(&self, interface: &str) -> &Value {
        let end = self.events.last().expect("the end");
        let links = end["uplinks"].as_array().expect("a list");
        links.iter().find(|link| link["interface"] == interface).expect("the link")
    }
}

fn key(event: &Value) -> String {
    ["id", "came_in", "left", "gateway", "address", "source", "protocol", "port", "server"]
        .map(|key| event[key].to_string())
        .concat()
}

/// `ID IN>OUT PROTOCOL ADDRESS:PORT SOURCE REASON`, one for each fault, sorted.
pub fn lines(observed: &Observed) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string().replace("null", "-"), str::to_string);
    let mut lines: Vec<String> = observed
        .faults()
        .iter()
        .map(|fault| {
            let source = if fault["source"] == fault["address"] {
                String::new()
            } else {
                format!(" from {}", text(&fault["source"]))
            };
            format!(
                "{} {}>{} {} {} {}{source}: {}",
                text(&fault["id"]),
                text(&fault["came_in"]),
                text(&fault["left"]),
                text(&fault["protocol"]),
                text(&fault["address"]),
                text(&fault["port"]),
                text(&fault["finding"]),
            )
        })
        .collect();
    lines.sort();
    lines
}

/// Runs while packets are sent, and expects exactly these faults.
pub fn expect(world: &World, expected: &[&str], send: &dyn Fn()) -> Observed {
    let observer = Observer::start(&world.server, "");
    send();
    let observed = observer.finish();
    assert_eq!(lines(&observed), expected, "{}\n{}", observed.text, state(world));
    assert_eq!(observed.code, i32::from(!expected.is_empty()), "{}", observed.text);
    observed
}

/// Nothing is reported while these packets are sent.
pub fn expect_nothing(world: &World, send: &dyn Fn()) -> Observed {
    expect(world, &[], send)
}
