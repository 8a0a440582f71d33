//! The file system that a configuration is read from: `/`, or another root such as an image or a chroot.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use glob::{MatchOptions, Pattern};

use crate::interfaces::Files;

/// Largest file read, in bytes: thousands of times what any host needs.
const MAX_BYTES: u64 = 32 << 20;

/// A root directory; names inside it are given as a program in that root would open them.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    pub fn new(root: &Path) -> Self {
        Root(root.to_path_buf())
    }

    /// Where `path` really is.
    pub fn locate(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("/") {
            Ok(inside) if self.0 != Path::new("/") => self.0.join(inside),
            _ => path.to_path_buf(),
        }
    }

    /// Does a real, resolved path lie in this root?
    pub fn holds(&self, path: &Path) -> bool {
        fs::canonicalize(&self.0).is_ok_and(|root| path.starts_with(root))
    }

    fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }
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

impl Files for Root {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_bounded(fs::File::open(self.locate(path))?)
    }

    fn expand(&self, pattern: &[u8]) -> Vec<PathBuf> {
        let Some(words) = wordexp(pattern, &|name| std::env::var_os(name).map(OsStringExt::into_vec)) else {
            return Vec::new();
        };
        words.into_iter().flat_map(|word| self.glob(word)).collect()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Vec<u8>>> {
        let mut names = fs::read_dir(self.locate(directory))?
            .map(|entry| entry.map(|entry| entry.file_name().into_vec()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        self.locate(path).exists()
    }
}

impl Root {
    fn glob(&self, word: Word) -> Vec<PathBuf> {
        let literal = PathBuf::from(OsStr::from_bytes(&word.literal));
        if !word.pattern {
            return vec![literal];
        }
        let options =
            MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, ..MatchOptions::new() };
        let inside = String::from_utf8_lossy(&word.escaped).into_owned();
        let host = self.is_host() || !inside.starts_with('/');
        let pattern = if host { inside } else { format!("{}{inside}", Pattern::escape(&self.0.to_string_lossy())) };
        let found: Vec<PathBuf> = glob::glob_with(&pattern, options)
            .into_iter()
            .flatten()
            .flatten()
            .map(|path| match path.strip_prefix(&self.0) {
                Ok(inside) if !host => Path::new("/").join(inside),
                _ => path,
            })
            .collect();
        // wordexp(3) leaves a pattern that matches nothing as it is.
        if found.is_empty() { vec![literal] } else { found }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Word {
    literal: Vec<u8>,
    /// The same with quoted characters escaped for the `glob` crate.
    escaped: Vec<u8>,
    /// An unquoted `*`, `?` or `[` stands in it.
    pattern: bool,
}

impl Word {
    fn push(&mut self, byte: u8, quoted: bool) {
        self.literal.push(byte);
        match byte {
            b'*' | b'?' | b'[' | b']' if quoted => self.escaped.extend_from_slice(&[b'[', byte, b']']),
            _ => self.escaped.push(byte),
        }
        self.pattern |= !quoted && matches!(byte, b'*' | b'?' | b'[');
    }
}

/// The words of `text` by wordexp(3) with `WRDE_NOCMD`, before globbing; nothing where wordexp fails.
fn wordexp(text: &[u8], variable: &dyn Fn(&OsStr) -> Option<Vec<u8>>) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = 0u8;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match (byte, quote) {
            (b'\'', b'\'') | (b'"', b'"') => quote = 0,
            (_, b'\'') => word.get_or_insert_default().push(byte, true),
            (b'\'' | b'"', 0) => {
                quote = byte;
                word.get_or_insert_default();
            }
            (b'\\', _) => {
                let next = *text.get(at)?;
                at += 1;
                word.get_or_insert_default().push(next, true);
            }
            (b'$', _) => {
                let braces = text.get(at) == Some(&b'{');
                let start = at + usize::from(braces);
                let length = text[start..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
                let end = start + length;
                if braces && text.get(end) != Some(&b'}') || matches!(text.get(at), Some(b'(' | b'[')) {
                    return None;
                }
                at = end + usize::from(braces);
                let value = if length == 0 {
                    b"$".to_vec()
                } else {
                    variable(OsStr::from_bytes(&text[start..end])).unwrap_or_default()
                };
                if !value.is_empty() {
                    let word = word.get_or_insert_default();
                    value.into_iter().for_each(|byte| word.push(byte, quote != 0));
                }
            }
            (b'`', _) => return None,
            (b'|' | b'&' | b';' | b'<' | b'>' | b'(' | b')' | b'{' | b'}' | b'\n', 0) => return None,
            (b' ' | b'\t', 0) => words.extend(word.take()),
            (b'~', 0) if word.is_none() && matches!(text.get(at), None | Some(b'/')) => {
                let word = word.get_or_insert_default();
                variable(OsStr::new("HOME")).unwrap_or_default().into_iter().for_each(|byte| word.push(byte, true));
            }
            _ => word.get_or_insert_default().push(byte, quote != 0),
        }
    }
    if quote != 0 {
        return None;
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        let variable = |name: &OsStr| (name == "D" || name == "HOME").then(|| b"/x".to_vec());
        Some(wordexp(text.as_bytes(), &variable)?.into_iter().map(|w| String::from_utf8(w.literal).unwrap()).collect())
    }

    #[test]
    fn words_as_wordexp_gives_them() {
        let is = |text: &str, expected: &[&str]| assert_eq!(words(text).unwrap(), expected, "{text}");
        is("/a b", &["/a", "b"]);
        is("'/a b'\"c d\"", &["/a bc d"]);
        is("$D/a ${D}b $NONE", &["/x/a", "/xb"]);
        is("/a\\ b ~/c a~", &["/a b", "/x/c", "a~"]);
        is("f # c", &["f", "#", "c"]);
        for refused in ["$(ls)", "`ls`", "a|b", "a;b", "(a", "{a,b}", "'a", "a\\", "${D-x}"] {
            assert_eq!(words(refused), None, "{refused}");
        }
    }

    #[test]
    fn quoted_stars_are_no_patterns() {
        let found = wordexp(b"a'*'b", &|_| None).unwrap();
        assert!(!found[0].pattern);
        assert_eq!(found[0].escaped, b"a[*]b");
    }
}
