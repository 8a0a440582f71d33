//! `symroute status`

use std::io;

use anyhow::Result;

use super::common::{Common, Exit, Json, Selected, print, print_json};
use super::plan::print_problems;
use crate::check::status as compare;
use crate::netlink::{Socket, snapshot};
use crate::report;
use crate::system::running::{now, running};

pub fn status(common: &Common, selected: &Selected, json: Json) -> Result<Exit> {
    let configuration = common.read();
    let snapshot = snapshot(&mut Socket::open()?)?;
    let plan = configuration.plan(Some(&snapshot), &[]);
    if print_problems(common, &configuration, &plan, common.quiet || json.json) {
        if json.json {
            print_json(&report::problems_json(&plan, &configuration.config, &configuration.root))?;
        }
        return Ok(Exit::Error);
    }
    let selection = selected.of(&plan)?;
    let mut status = compare(&plan, &snapshot);
    status.select(&plan, &selection);
    if json.json {
        let mut json = report::status_json(&plan, &status, &selection, &configuration.config, &configuration.root);
        json["watch"] = report::watch_json(running().as_ref());
        print_json(&json)?;
    } else if !common.quiet {
        let inactive = report::inactive(&plan, &selection, &configuration.config, &snapshot, &[]);
        let style = report::StatusStyle { verbose: common.verbose, color: common.color.is_for(&io::stdout()) };
        let text = report::status_text(&plan, &status, &selection, &inactive, style);
        print(text + &report::watch_text(running().as_ref(), now()))?;
    }
    Ok(if status.in_sync() { Exit::Yes } else { Exit::No })
}
