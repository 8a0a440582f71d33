//! `symroute watch`

use std::os::fd::AsFd;

use anyhow::Result;

use super::common::{Common, Exit, print_error};
use crate::watch::caller::{Caller, Level};

pub fn watch(common: &Common) -> Result<Exit> {
    let has_levels = is_journal();
    let log = |level: Level, text: &str| {
        if level == Level::Info && common.quiet {
            return;
        }
        match has_levels {
            true => print_error(&format!("<{}>{text}\n", level as u8)),
            false => print_error(&format!("symroute: watch: {text}\n")),
        }
    };
    crate::watch::watch(&Caller { read: &|| common.read(), log: &log })?;
    Ok(Exit::Yes)
}

/// Is standard error the journal's stream? It reads levels, and adds the name of the program (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let status = nix::sys::stat::fstat(std::io::stderr().as_fd());
    status.is_ok_and(|status| stream == format!("{}:{}", status.st_dev, status.st_ino))
}
