//! The problem that README.md shows, and the commands of README.md and docs/usage.md.

use crate::judge::{assert_kernel_is_plan, assert_nothing_left, assert_symmetric, state};
use crate::world::{A4, A6, B4, B6, World};
use crate::{PLAIN, WITH_METRIC};

pub fn two_gateway_lines_fail_without_metric(world: &World) {
    world.configure(PLAIN);
    let up = world.server.run("ifup -a");
    assert!(!up.succeeded());
    assert!(up.text().contains("File exists"), "{}", up.text());
    assert!(up.text().contains("failed to bring up eth1"), "{}", up.text());
    assert!(world.client.reaches(None, A4));
    assert!(!world.client.pings(None, B4));
}

pub fn a_metric_alone_does_not_route_replies(world: &World) {
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    let get = "ip route get 203.0.113.190 from 198.51.100.10";
    let shown = world.server.ok(get).replace(" \n", "\n");
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&format!("# {get}\n{shown}```\n")), "README.md:\n{shown}");
    for (to, answers) in [(A4, true), (A6, true), (B4, false), (B6, false)] {
        assert_eq!(world.client.pings(None, to), answers, "{to}");
        assert_eq!(world.client.talks(None, to), answers, "{to}");
    }
}

/// The commands of README.md on a server that is up, and on a server whose second `ifup` fails.
pub fn commands_of_the_readme_make_routing_symmetric(world: &World) {
    let World { server, .. } = world;
    let readme = include_str!("../../../README.md");
    let block =
        readme.split("```\n").find(|block| block.starts_with("sudo symroute-gen --style hook ")).expect("a block");
    let commands: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("sudo ")).collect();
    assert_eq!(commands.len(), 5);
    let restart = "ifdown --force eth1; ifup eth1";
    assert!(readme.contains("`sudo ifdown --force eth1; sudo ifup eth1`"));
    for (file, is_whole) in [(WITH_METRIC, true), (PLAIN, false)] {
        world.configure(file);
        assert_eq!(server.run("ifup -a").succeeded(), is_whole);
        world.install_hooks();
        for command in &commands {
            if !is_whole && command.starts_with("symroute apply --dry-run") {
                server.ok(restart);
                world.settle();
            }
            server.ok(command);
        }
        assert_kernel_is_plan(world);
        assert_symmetric(world);
        server.ok("ifdown -a; rm /etc/network/if-up.d/symroute /etc/network/if-down.d/symroute");
        assert_nothing_left(world);
    }
}

/// The job of docs/usage.md that runs `symroute flush` after a lost ssh session. 'kill %1' stops it.
pub fn flush_runs_after_a_lost_ssh_session(world: &World) {
    let World { server, .. } = world;
    let page = include_str!("../../../docs/usage.md");
    let job = "nohup sh -c 'sleep 300; /usr/sbin/symroute flush' &";
    assert!(page.contains(&format!("4. `{job}`")) && page.contains("`kill %1`"));
    let job = job.replace("300", "2").replace("/usr/sbin/", "");
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    for (stop, remains) in [("kill %1", true), ("", false)] {
        server.ok("symroute apply");
        server.ok(&format!(
            "cd \"$(mktemp -d)\"; mkfifo typed; {{ cat <<'END'; sleep 2; }} >typed &\n{job}\n{stop}\nEND\n\
             script -qc 'bash -i' /dev/null <typed >/dev/null 2>&1 & terminal=$!\nsleep 1\n\
             kill -HUP $(cat /proc/$terminal/task/$terminal/children); kill -9 $terminal; sleep 4; rm -r \"$PWD\""
        ));
        assert_eq!(server.ok("ip rule").contains("suppress_ifgroup"), remains, "'{stop}'\n{}", state(world));
    }
    assert_nothing_left(world);
    server.ok("ifdown -a");
}

/// Hooks without execute permission, as docs/usage.md shows it for lines alone.
pub fn disabled_hooks_change_nothing(world: &World) {
    let World { server, .. } = world;
    let page = include_str!("../../../docs/usage.md");
    let command = page.lines().find(|line| line.starts_with("chmod a-x ")).expect("a command");
    world.install_hooks();
    server.ok(command);
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    assert_nothing_left(world);
    server.ok(&command.replace("a-x", "a+x"));
    server.ok("ifdown -a; ifup -a");
    assert_kernel_is_plan(world);
    server.ok("ifdown -a");
}
