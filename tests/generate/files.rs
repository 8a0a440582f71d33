//! Files are replaced completely or not at all, and keep their owner and mode.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use symroute::interfaces::{Document, Edit, File};
use symroute::rewrite::Change;
use symroute::system::files::Root;

use super::{TWO, in_root, root, text};

#[test]
fn write_check_and_remove_agree() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    assert_eq!(in_root(&root, &["--check"]).status.code(), Some(1));
    let shown = in_root(&root, &[]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(text(&shown.stdout).contains("+    post-up ip route replace"), "{}", text(&shown.stdout));
    assert_eq!(fs::read_to_string(&file).unwrap(), TWO, "only shown");
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let written = fs::read(&file).unwrap();
    assert_eq!(in_root(&root, &["--check"]).status.code(), Some(0));
    let inode = fs::metadata(&file).unwrap().ino();
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    assert_eq!(fs::read(&file).unwrap(), written);
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode, "an unchanged file is not replaced");
    assert_eq!(in_root(&root, &["--check", "--remove"]).status.code(), Some(1));
    assert_eq!(in_root(&root, &["--write", "--remove"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), TWO);
    let left: Vec<_> = fs::read_dir(root.path().join("etc/network")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "a lock or temporary file remains: {left:?}");
}

#[test]
fn write_keeps_modes_and_links_of_included_files() {
    let top = "source interfaces.d/*\nauto lo eth0\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1";
    let other = "auto eth1\r\niface eth1 inet static\r\n\taddress 198.51.100.10/24\r\n\tgateway 198.51.100.1\r\n";
    let root = root(top, &[("etc/network/interfaces.d/real", other)]);
    let directory = root.path().join("etc/network/interfaces.d");
    fs::rename(directory.join("real"), root.path().join("etc/eth1")).unwrap();
    symlink("../../eth1", directory.join("eth1")).unwrap();
    fs::set_permissions(root.path().join("etc/eth1"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = in_root(&root, &["--write"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(directory.join("eth1").is_symlink());
    let written = fs::read_to_string(root.path().join("etc/eth1")).unwrap();
    assert!(written.contains("\t# symroute: end\r\n"), "{written:?}");
    assert!(written.replace("\r\n", "").find('\n').is_none(), "line ends stay as they are");
    assert_eq!(fs::metadata(root.path().join("etc/eth1")).unwrap().permissions().mode() & 0o777, 0o600);
    let first = fs::read_to_string(root.path().join("etc/network/interfaces")).unwrap();
    assert!(first.contains("\n # symroute: begin") && first.ends_with("# symroute: end"), "{first}");
    assert_eq!(in_root(&root, &["--write", "--remove"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(root.path().join("etc/network/interfaces")).unwrap(), top);
    assert_eq!(fs::read_to_string(root.path().join("etc/eth1")).unwrap(), other);
}

/// The contents of both files.
type Contents = [Vec<u8>; 2];

/// A root with two files that both need lines, with their contents before and after a write.
fn two_files() -> (TempDir, [PathBuf; 2], Contents, Contents) {
    let other = "auto eth5\niface eth5 inet static\n    address 203.0.113.130/26\n    gateway 203.0.113.129\n";
    let top = format!("source interfaces.d/*\n{TWO}");
    let directory = root(&top, &[("etc/network/interfaces.d/eth5", other)]);
    let files = ["etc/network/interfaces", "etc/network/interfaces.d/eth5"].map(|file| directory.path().join(file));
    let read = || [fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap()];
    let old = read();
    assert_eq!(in_root(&directory, &["--write"]).status.code(), Some(0));
    let new = read();
    assert!(old[0] != new[0] && old[1] != new[1]);
    (directory, files, old, new)
}

#[test]
fn a_killed_write_leaves_old_or_new_files() {
    let (root, files, old, new) = two_files();
    let (mut killed, mut kept) = (0, 0);
    for round in 0..150 {
        fs::write(&files[0], &old[0]).unwrap();
        fs::write(&files[1], &old[1]).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_symroute-gen"))
            .args(["--root", root.path().to_str().unwrap(), "--write", "--quiet"])
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_micros(round * 100));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        for (file, (old, new)) in files.iter().zip(old.iter().zip(&new)) {
            let now = fs::read(file).unwrap();
            assert!(now == *old || now == *new, "neither old nor new: {}", text(&now));
            kept += u32::from(now == *old);
        }
    }
    assert!(killed > 20 && kept > 20, "killed {killed} times, {kept} files old: the delays do not match the work");
    // Other programs do not read the files of a killed run, and the next run removes them.
    fs::write(&files[0], &old[0]).unwrap();
    fs::write(&files[1], &old[1]).unwrap();
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    for file in &files {
        let names = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with('.')));
    }
    assert_eq!(fs::read(&files[0]).unwrap(), new[0]);
    assert_eq!(fs::read(&files[1]).unwrap(), new[1]);
}

#[test]
fn one_of_several_writers_succeeds() {
    let (root, files, old, new) = two_files();
    for _ in 0..10 {
        fs::write(&files[0], &old[0]).unwrap();
        fs::write(&files[1], &old[1]).unwrap();
        let run = || {
            let output = in_root(&root, &["--write"]);
            let messages = text(&output.stderr);
            let is_rejected = messages.contains("another symroute-gen is writing")
                || messages.contains("was changed by another program");
            assert!(output.status.code() == Some(0) || output.status.code() == Some(2) && is_rejected, "{messages}");
            output.status.code() == Some(0)
        };
        let succeeded = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
            runs.into_iter().map(|run| run.join().unwrap()).filter(|succeeded| *succeeded).count()
        });
        assert!(succeeded > 0);
        assert_eq!([fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap()], new);
    }
}

/// A file as it was read.
fn read_as(path: &str, bytes: &[u8]) -> File {
    File { path: path.into(), document: Document::parse(bytes.into()), ..File::default() }
}

#[test]
fn a_file_that_changed_meanwhile_is_not_overwritten() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let read = read_as("/etc/network/interfaces", b"the content when it was read");
    let change = Change { file: &read, edits: vec![Edit { lines: 0..1, text: b"new".to_vec() }] };
    let inside = Root::new(root.path());
    let error = symroute::system::store::write(&inside, &[change]).unwrap_err();
    assert!(format!("{error:#}").contains("was changed by another program"), "{error:#}");
    assert_eq!(fs::read_to_string(file).unwrap(), TWO);
}

#[test]
fn owner_and_attributes_stay() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let attributes = xattr::set(&file, "user.note", b"kept").is_ok();
    let chown = nix::unistd::geteuid().is_root() && std::os::unix::fs::chown(&file, Some(12345), Some(54321)).is_ok();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    if chown {
        assert_eq!((metadata.uid(), metadata.gid()), (12345, 54321));
    }
    if attributes {
        assert_eq!(xattr::get(&file, "user.note").unwrap().unwrap(), b"kept");
    }
    assert!(chown || attributes, "this machine can set neither an owner nor an attribute");
}

#[test]
fn a_link_out_of_the_root_is_not_followed() {
    let root = root(TWO, &[]);
    let outside = TempDir::new().unwrap();
    let target = outside.path().join("interfaces");
    fs::write(&target, TWO).unwrap();
    let file = root.path().join("etc/network/interfaces");
    fs::remove_file(&file).unwrap();
    symlink(&target, &file).unwrap();
    let output = in_root(&root, &["--write"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is missing in the given root"), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(&target).unwrap(), TWO);
}

#[test]
fn large_files_and_loops_are_bounded() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("interfaces");
    let config = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_symroute"))
            .args(["config", "--quiet", "--json", "-i", file.to_str().unwrap()])
            .output()
            .unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let line = format!("iface eth0 inet manual\n up {}\n", "x".repeat(1 << 20));
    assert_eq!(config(line.as_bytes()).0, Some(0), "a line of 1 MB");
    let mut large = vec![b'#'; 1 << 20];
    large.resize(33 << 20, b'\n');
    let (code, messages) = config(&large);
    assert_eq!(code, Some(2), "a file of 33 MB");
    assert!(messages.contains("larger than"), "{messages}");
    // ifupdown itself does not stop here, because each round has a new name.
    assert_eq!(config(b"source-directory\nsource ./interfaces\n").0, Some(0), "a file that includes itself");
    let many: String = (0..10_001).map(|n| format!("source f{n}\n")).collect();
    for n in 0..10_001 {
        fs::write(directory.path().join(format!("f{n}")), format!("source f{}\n", n + 1)).unwrap();
    }
    let (code, messages) = config(many.as_bytes());
    assert_eq!(code, Some(2), "10,000 files within each other");
    assert!(messages.contains("too many files"), "{messages}");
}

/// After the file is written or compared, a full disk for the messages does not change the exit code.
#[test]
fn a_failing_standard_output_does_not_change_the_exit_code() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_symroute-gen"));
        command.args(["--root", root.path().to_str().unwrap()]).args(arguments);
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        command.stdout(full).stderr(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(run(&[]), Some(2), "here, the output is the work");
    assert_eq!(run(&["--check"]), Some(1));
    assert_eq!(run(&["--write"]), Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("# symroute: end"));
    assert_eq!(run(&["--check"]), Some(0));
    assert_eq!(run(&["--write", "--remove", "--json"]), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), TWO);
}

/// A lock on a file that other users can open does not stop a write.
#[test]
fn locks_of_other_programs_do_not_block() {
    let root = root(TWO, &[]);
    let directory = root.path().join("etc/network");
    let locks = [directory.clone(), directory.join("interfaces")].map(|path| {
        let lock = nix::fcntl::FlockArg::LockExclusiveNonblock;
        nix::fcntl::Flock::lock(fs::File::open(path).unwrap(), lock).unwrap()
    });
    let output = in_root(&root, &["--write"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    drop(locks);
    // A lock file that a killed run left.
    fs::write(directory.join(".symroute-gen-lock"), "").unwrap();
    assert_eq!(in_root(&root, &["--write", "--remove"]).status.code(), Some(0));
    let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// A program that has the file open for writing may write to it, so the file is not replaced.
#[test]
fn a_file_that_is_open_for_writing_is_not_replaced() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let inode = fs::metadata(&file).unwrap().ino();
    // Another process: a file that is open here is open in each process that another test starts, too, for a moment.
    let script = "exec 3>>\"$1\"; echo open; read -r line; echo \"$line\" >&3";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut editor = command.spawn().unwrap();
    let mut opened = [0; 5];
    editor.stdout.as_mut().unwrap().read_exact(&mut opened).unwrap();
    let output = in_root(&root, &["--write"]);
    let messages = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{messages}");
    assert!(messages.contains("nothing was written") && messages.contains("open for writing"), "{messages}");
    editor.stdin.as_mut().unwrap().write_all(b"# saved by the editor\n").unwrap();
    assert!(editor.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{TWO}# saved by the editor\n"));
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("# saved by the editor\n"));
}

/// A file that is closed at once is replaced.
#[test]
fn a_write_that_ends_is_waited_for() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3>>\"$1\"; echo open; sleep 0.05", "sh"]).arg(&file).stdout(Stdio::piped());
    let mut other = command.spawn().unwrap();
    other.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    assert!(other.wait().unwrap().success());
    assert!(fs::read_to_string(&file).unwrap().contains("# symroute: begin"));
}

#[test]
fn a_file_with_two_names_is_not_written() {
    let (root, files, old, _) = two_files();
    fs::write(&files[0], &old[0]).unwrap();
    fs::write(&files[1], &old[1]).unwrap();
    let outside = root.path().join("etc/eth5");
    let refused = |what: &str| {
        let output = in_root(&root, &["--write"]);
        let messages = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{messages}");
        assert!(messages.contains("nothing was written") && messages.contains(what), "{messages}");
        assert_eq!([fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap()], old);
    };
    fs::hard_link(&files[1], &outside).unwrap();
    refused("has 2 hard links");
    fs::remove_file(&outside).unwrap();
    symlink("interfaces.d/eth5", files[0].with_file_name("eth5")).unwrap();
    let names = ["/etc/network/interfaces.d/eth5", "/etc/network/eth5"].map(|path| read_as(path, &old[1]));
    let edits = vec![Edit { lines: 0..1, text: b"new".to_vec() }];
    let twice: Vec<Change> = names.iter().map(|file| Change { file, edits: edits.clone() }).collect();
    let error = symroute::system::store::write(&Root::new(root.path()), &twice).unwrap_err();
    assert!(format!("{error:#}").contains("are the same file"), "{error:#}");
    assert_eq!([fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap()], old);
}

#[test]
fn a_fifo_is_not_read() {
    let root = root(&format!("source-directory interfaces.d\n{TWO}"), &[]);
    let fifo = root.path().join("etc/network/interfaces.d/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let output = in_root(&root, &["--check"]);
    assert_eq!(output.status.code(), Some(1));
    let messages = text(&output.stderr);
    assert!(messages.contains(&format!("cannot read {}: it is a FIFO", fifo.display())), "{messages}");
    assert!(messages.contains("interfaces:1:"), "{messages}");
}
