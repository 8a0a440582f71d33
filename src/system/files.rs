//! The file system that a configuration is read from: `/`, or another root such as an image or a chroot.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::{Mode, makedev};

use crate::interfaces::Files;
use crate::interfaces::wordexp::{Environment, Failure, expand};
use crate::sort::sort;

/// Largest file read, in bytes: thousands of times what any host needs.
const MAX_BYTES: u64 = 32 << 20;

/// Another run may replace a file between the moment it is opened and the moment its name is read.
const RESOLVE_TRIES: usize = 10;

/// A root directory; names inside it are given as a program in that root would open them.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    pub fn new(root: &Path) -> Self {
        Root(root.to_path_buf())
    }

    pub fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where `path` is, by its name: for messages.
    pub fn locate(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("/") {
            _ if self.is_host() => path.to_path_buf(),
            Ok(inside) => self.0.join(inside),
            Err(_) => self.0.join(path),
        }
    }

    /// Where a file really is, its links followed as a program in that root would follow them.
    ///
    /// # Errors
    /// As `open(2)`; for another root, `/proc` is needed.
    pub fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        if self.is_host() {
            return fs::canonicalize(path);
        }
        let mut target = PathBuf::new();
        for _ in 0..RESOLVE_TRIES {
            let file = self.open(path, OFlag::O_PATH)?;
            target = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            let inode = |metadata: Metadata| (metadata.dev(), metadata.ino());
            let found = fs::symlink_metadata(&target).map(inode);
            if found.is_ok_and(|found| file.metadata().is_ok_and(|opened| inode(opened) == found)) {
                break;
            }
        }
        Ok(target)
    }

    /// A link may lead to what only the host's own root has.
    fn explained(&self, path: &Path, error: io::Error) -> io::Error {
        let link = || readlinkat(self.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).ok()?, "").ok();
        match (error.kind(), self.is_host()) {
            (io::ErrorKind::NotFound, false) => link().map_or(error, |target| {
                let target = Path::new(&target).display();
                io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("it is a symbolic link, and {target} is missing in the given root"),
                )
            }),
            _ => error,
        }
    }

    /// Another root's links, absolute ones and `..` included, stay inside it.
    fn open(&self, path: &Path, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_CLOEXEC;
        if self.is_host() {
            return Ok(open(path, flags, Mode::empty())?.into());
        }
        let root = open(&self.0, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        match openat2(root, path, how) {
            Err(Errno::ENOSYS) => Err(io::Error::other("another root requires openat2(2) (Linux 5.6)")),
            opened => Ok(opened?.into()),
        }
    }
}

/// Opens for reading without waiting for whoever is at the other end of a FIFO.
const TO_READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// Opens a file of the host for reading.
///
/// # Errors
/// As `open(2)`; for a FIFO, a device or a socket, with its kind.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = open(path, TO_READ | OFlag::O_CLOEXEC, Mode::empty())?.into();
    require_file(&file)?;
    Ok(file)
}

/// Only a file has an end; `/dev/null` is an empty one.
///
/// # Errors
/// For a FIFO, a device or a socket, with its kind.
pub fn require_file(file: &File) -> io::Result<Metadata> {
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_char_device() && metadata.rdev() == makedev(1, 3) => return Ok(metadata),
        () if kind.is_char_device() => "a character device",
        () if kind.is_block_device() => "a block device",
        () if kind.is_socket() => "a socket",
        () => return Ok(metadata),
    };
    Err(io::Error::other(format!("it is {what}, not a file")))
}

/// Reads a regular file (or what is piped in), but no more than 32 MiB.
///
/// # Errors
/// As `read(2)`; `FileTooLarge` past the limit.
pub fn read_bounded(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 32 MiB"));
    }
    Ok(bytes)
}

/// Reads a file up to the size that it has when the call begins: then one read(2) is enough.
///
/// # Errors
/// As [`require_file`] and [`read_bounded`].
pub fn read_file(file: &File) -> io::Result<Vec<u8>> {
    let size = require_file(file)?.len();
    // Files in /proc have no size.
    if size == 0 || size > MAX_BYTES {
        return read_bounded(file);
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Files for Root {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_file(&self.open(path, TO_READ).map_err(|error| self.explained(path, error))?)
    }

    fn expand(&self, argument: &[u8]) -> Result<Vec<PathBuf>, Failure> {
        expand(argument, self)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        if self.is_host() {
            for entry in fs::read_dir(directory)? {
                names.push(entry?.file_name().into_vec());
            }
        } else {
            let directory = self.open(directory, TO_READ | OFlag::O_DIRECTORY)?;
            for entry in Dir::from_fd(directory.into())? {
                names.push(entry?.file_name().to_bytes().to_vec());
            }
            names.retain(|name| name != b"." && name != b"..");
        }
        sort(&mut names);
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        self.open(path, OFlag::O_PATH).is_ok()
    }

    fn shown(&self, path: &Path) -> PathBuf {
        self.locate(path)
    }
}

impl Environment for Root {
    fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        std::env::var_os(OsStr::from_bytes(name)).map(OsStringExt::into_vec)
    }

    fn home(&self, user: &[u8]) -> Option<Vec<u8>> {
        if user.is_empty() {
            if let Some(home) = self.variable(b"HOME") {
                return Some(home);
            }
        }
        let id = nix::unistd::getuid().to_string();
        let passwd = self.read(Path::new("/etc/passwd")).ok()?;
        let mut entries = passwd.split(|b| *b == b'\n').map(|line| line.split(|b| *b == b':').collect::<Vec<_>>());
        let is_user = |entry: &Vec<&[u8]>| match user {
            b"" => entry.get(2) == Some(&id.as_bytes()),
            user => entry.first() == Some(&user),
        };
        entries.find(is_user)?.get(5).map(|home| home.to_vec())
    }

    fn list(&self, directory: &Path) -> Vec<Vec<u8>> {
        let mut names = Files::list(self, directory).unwrap_or_default();
        if !names.is_empty() || self.exists(&directory.join(".")) {
            names.extend([b".".to_vec(), b"..".to_vec()]);
        }
        names
    }

    fn has(&self, path: &Path) -> bool {
        self.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn links_of_another_root_stay_inside() {
        let directory = TempDir::new().unwrap();
        fs::create_dir_all(directory.path().join("srv/network")).unwrap();
        fs::create_dir_all(directory.path().join("etc/network")).unwrap();
        fs::write(directory.path().join("srv/network/eth1"), "inside").unwrap();
        symlink("/srv/network", directory.path().join("etc/network/absolute")).unwrap();
        symlink("../../../../../../srv/network", directory.path().join("etc/network/climbing")).unwrap();
        symlink("/etc/hostname", directory.path().join("etc/network/outside")).unwrap();
        let root = Root::new(directory.path());
        for name in ["absolute", "climbing"] {
            let link = Path::new("/etc/network").join(name);
            assert_eq!(root.read(&link.join("eth1")).unwrap(), b"inside", "{name}");
            assert_eq!(Files::list(&root, &link).unwrap(), [b"eth1"], "{name}");
            assert_eq!(root.expand(format!("{}/e*", link.display()).as_bytes()).unwrap(), [link.join("eth1")]);
            assert_eq!(root.resolve(&link.join("eth1")).unwrap(), directory.path().join("srv/network/eth1"), "{name}");
        }
        assert!(!root.exists(Path::new("/etc/network/outside")));
        let error = root.read(Path::new("/etc/network/outside")).unwrap_err();
        assert!(error.to_string().contains("/etc/hostname is missing in the given root"), "{error}");
    }

    #[test]
    fn other_kinds_of_files_are_reported() {
        let directory = TempDir::new().unwrap();
        let fifo = directory.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
        let root = Root::new(Path::new("/"));
        assert_eq!(root.read(&fifo).unwrap_err().to_string(), "it is a FIFO, not a file");
        assert_eq!(root.read(Path::new("/dev/zero")).unwrap_err().to_string(), "it is a character device, not a file");
        assert_eq!(root.read(Path::new("/dev/null")).unwrap(), b"");
        assert!(root.read(&directory.path().join("socket")).is_err());
        assert!(root.read(directory.path()).is_err());
    }
}
