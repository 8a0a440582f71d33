//! The words of a `source` argument, as expanded by wordexp(3) with `WRDE_NOCMD` and glob(3) (glibc, posix/wordexp.c).
//!
//! Pure: environment and directories are read through a trait. Words that depend on the command line of `ifup` (`$1`,
//! `$$`) or on a computation (`${NAME:-word}`, `$((1+1))`) are not expanded: they are an error that names them.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::sort::sort;
use bstr::ByteSlice;
use nix::libc;

/// What wordexp(3) and glob(3) look up.
pub trait Environment {
    fn variable(&self, name: &[u8]) -> Option<Vec<u8>>;
    /// The home directory of a user; an empty name is the present user.
    fn home(&self, user: &[u8]) -> Option<Vec<u8>>;
    /// The names in a directory, `.` and `..` included, in any order; nothing if it is not a directory.
    fn list(&self, directory: &Path) -> Vec<Vec<u8>>;
    /// Also true for a dangling link.
    fn has(&self, path: &Path) -> bool;
}

/// Why no file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// wordexp(3) rejects this character, and ifupdown silently reads nothing.
    Rejected(char),
    /// Only ifupdown can expand these words.
    Unknown(String),
}

/// The paths that an argument names.
pub fn expand(text: &[u8], around: &dyn Environment) -> Result<Vec<PathBuf>, Failure> {
    let mut expansion = Expansion { text, next: 0, around, words: Vec::new(), word: None };
    expansion.run()?;
    Ok(expansion.words.into_iter().map(|word| PathBuf::from(OsStr::from_bytes(&word))).collect())
}

struct Expansion<'a> {
    text: &'a [u8],
    /// The next byte to read.
    next: usize,
    around: &'a dyn Environment,
    words: Vec<Vec<u8>>,
    /// The word that is being read.
    word: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

impl Expansion<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        while let Some(byte) = self.next() {
            match byte {
                b'\\' => {
                    let byte = self.next().ok_or(Failure::Rejected('\\'))?;
                    self.push(byte);
                }
                b'\'' | b'"' => self.quoted(byte)?,
                b'$' => self.dollar(false)?,
                b'`' => return Err(Failure::Rejected('`')),
                b'~' => self.tilde(),
                b'*' | b'?' | b'[' => self.pattern(byte)?,
                b' ' | b'\t' => self.end_word(),
                b'\n' | b'|' | b'&' | b';' | b'<' | b'>' | b'(' | b')' | b'{' | b'}' => {
                    return Err(Failure::Rejected(byte.into()));
                }
                _ => self.push(byte),
            }
        }
        self.end_word();
        Ok(())
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.next)?;
        self.next += 1;
        Some(byte)
    }

    fn push(&mut self, byte: u8) {
        self.word.get_or_insert_default().push(byte);
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    /// After the opening quote. An empty quotation at the start of a word is a word.
    fn quoted(&mut self, quote: u8) -> Result<(), Failure> {
        loop {
            match self.next().ok_or(Failure::Rejected(quote.into()))? {
                byte if byte == quote => break,
                b'$' if quote == b'"' => self.dollar(true)?,
                b'`' if quote == b'"' => return Err(Failure::Rejected('`')),
                b'\\' if quote == b'"' => self.quoted_backslash()?,
                byte => self.push(byte),
            }
        }
        if self.word.as_ref().is_none_or(Vec::is_empty) {
            self.words.push(Vec::new());
            self.word = None;
        }
        Ok(())
    }

    /// Between double quotes, a backslash stays before a character that it need not protect.
    fn quoted_backslash(&mut self) -> Result<(), Failure> {
        let byte = self.next().ok_or(Failure::Rejected('\\'))?;
        if !matches!(byte, b'$' | b'`' | b'"' | b'\\') {
            self.push(b'\\');
        }
        self.push(byte);
        Ok(())
    }

    /// After a `$`.
    fn dollar(&mut self, quoted: bool) -> Result<(), Failure> {
        let rest = &self.text[self.next..];
        let unknown = |length: usize| Err(Failure::Unknown(format!("${}", rest[..length.min(rest.len())].as_bstr())));
        let (braces, name) = match rest.strip_prefix(b"{") {
            Some(inner) => (true, inner),
            None => (false, rest),
        };
        let length = match name.first() {
            Some(first) if first.is_ascii_alphabetic() || *first == b'_' => {
                name.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
            }
            // Arguments and process number of ifup, and arithmetic.
            Some(b'0'..=b'9' | b'*' | b'@' | b'$' | b'#') if !braces => return unknown(1),
            Some(b'[') if !braces => return unknown(1),
            Some(b'(') if !braces => match name.get(1) {
                Some(b'(') => return unknown(2),
                _ => return Err(Failure::Rejected('$')),
            },
            _ if braces => return unknown(rest.find_byte(b'}').map_or(rest.len(), |end| end + 1)),
            _ => {
                self.push(b'$');
                return Ok(());
            }
        };
        if braces && name.get(length) != Some(&b'}') {
            return unknown(rest.find_byte(b'}').map_or(rest.len(), |end| end + 1));
        }
        let value = self.around.variable(&name[..length]).unwrap_or_default();
        self.next += length + if braces { 2 } else { 0 };
        self.value(&value, quoted);
        Ok(())
    }

    /// A value that is not quoted is split at blanks.
    fn value(&mut self, value: &[u8], quoted: bool) {
        if quoted {
            value.iter().for_each(|byte| self.push(*byte));
            return;
        }
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n');
        for (position, field) in value.split(blank).filter(|field| !field.is_empty()).enumerate() {
            if position > 0 {
                self.end_word();
            }
            field.iter().for_each(|byte| self.push(*byte));
        }
        if value.last().is_some_and(blank) && !value.iter().all(blank) {
            // The last field is complete.
            self.end_word();
        }
    }

    /// `~` and `~USER` at the beginning of a word.
    fn tilde(&mut self) {
        let rest = &self.text[self.next..];
        let end = rest.iter().position(|b| matches!(b, b':' | b'/' | b' ' | b'\t')).unwrap_or(rest.len());
        let user = &rest[..end];
        if self.word.as_ref().is_some_and(|word| !word.is_empty()) || user.contains(&b'\\') {
            self.push(b'~');
            return;
        }
        self.next += end;
        let home = self.around.home(user).unwrap_or_else(|| [b"~", user].concat());
        home.into_iter().for_each(|byte| self.push(byte));
    }

    /// From an unquoted `*`, `?` or `[` on, the whole word is a pattern; quotes go, and protect neither blanks nor stars.
    fn pattern(&mut self, first: u8) -> Result<(), Failure> {
        self.push(first);
        let mut quote = Quote::None;
        let before = self.words.len();
        while let Some(&byte) = self.text.get(self.next) {
            if matches!(byte, b' ' | b'\t' | b'\n') {
                break;
            }
            self.next += 1;
            match (byte, quote) {
                (b'\'', Quote::None) => quote = Quote::Single,
                (b'\'', Quote::Single) | (b'"', Quote::Double) => quote = Quote::None,
                (b'"', Quote::None) => quote = Quote::Double,
                (b'$', Quote::None) => self.dollar(false)?,
                (b'$', Quote::Double) => self.dollar(true)?,
                // Single quotes do not differ here.
                (b'\\', Quote::Single | Quote::Double) => self.quoted_backslash()?,
                (b'\\', Quote::None) => {
                    let byte = self.next().ok_or(Failure::Rejected('\\'))?;
                    self.push(byte);
                }
                (byte, _) => self.push(byte),
            }
        }
        // A variable may have split the word.
        self.end_word();
        let patterns = self.words.split_off(before);
        self.words.extend(patterns.iter().flat_map(|pattern| glob(pattern, self.around)));
        Ok(())
    }
}

/// The paths that match, in byte order; if none does, the pattern itself.
fn glob(pattern: &[u8], around: &dyn Environment) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    let components: Vec<&[u8]> = pattern.split(|b| *b == b'/').collect();
    for (position, component) in components.iter().enumerate() {
        let separator: &[u8] = if position == 0 { b"" } else { b"/" };
        let is_last = position + 1 == components.len();
        let component = if is_last { component } else { without_protected_slash(component) };
        let mut next = Vec::new();
        for base in found {
            let base = [&base[..], separator].concat();
            if is_pattern(component) {
                let directory = if base.is_empty() { &b"."[..] } else { &base[..] };
                let names = around.list(Path::new(OsStr::from_bytes(directory)));
                let names = names.into_iter().filter(|name| matches(component, name));
                next.extend(names.map(|name| [&base[..], &name].concat()));
            } else {
                next.push([&base[..], &without_backslashes(component)].concat());
            }
        }
        found = next;
    }
    found.retain(|path| around.has(Path::new(OsStr::from_bytes(path))));
    sort(&mut found);
    if found.is_empty() { vec![pattern.to_vec()] } else { found }
}

fn is_pattern(component: &[u8]) -> bool {
    let class = |open: usize| component[open..].contains(&b']');
    component.contains(&b'*') || component.contains(&b'?') || component.find_byte(b'[').is_some_and(class)
}

/// In `foo\/bar`, the backslash protects the slash and goes (glibc, posix/glob.c).
fn without_protected_slash(component: &[u8]) -> &[u8] {
    let backslashes = component.iter().rev().take_while(|byte| **byte == b'\\').count();
    &component[..component.len() - backslashes % 2]
}

fn without_backslashes(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter();
    std::iter::from_fn(|| match bytes.next()? {
        b'\\' => Some(*bytes.next().unwrap_or(&b'\\')),
        byte => Some(*byte),
    })
    .collect()
}

/// Does a name match a pattern by fnmatch(3)? A dot at its beginning must be in the pattern.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (Ok(pattern), Ok(name)) = (CString::new(pattern), CString::new(name)) else { return false };
    // SAFETY: both are strings that end in NUL and outlive the call, which keeps neither.
    #[allow(unsafe_code)]
    let result = unsafe { libc::fnmatch(pattern.as_ptr(), name.as_ptr(), libc::FNM_PERIOD) };
    result == 0
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, c_char, c_int};
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::interfaces::Files;
    use crate::system::files::Root;

    #[repr(C)]
    struct WordExp {
        count: usize,
        words: *mut *mut c_char,
        offset: usize,
    }

    #[allow(unsafe_code)]
    unsafe extern "C" {
        fn wordexp(text: *const c_char, words: *mut WordExp, flags: c_int) -> c_int;
        fn wordfree(words: *mut WordExp);
    }

    const WRDE_NOCMD: c_int = 1 << 2;

    /// What the C library says.
    #[allow(unsafe_code)]
    fn by_libc(text: &[u8]) -> Option<Vec<PathBuf>> {
        let text = CString::new(text).unwrap();
        let mut found = WordExp { count: 0, words: std::ptr::null_mut(), offset: 0 };
        // SAFETY: the string ends in NUL and the struct is that of wordexp(3); its words are read before they are freed.
        unsafe {
            let code = wordexp(text.as_ptr(), &mut found, WRDE_NOCMD);
            let word = |index| {
                let word = *found.words.add(index);
                let bytes = if word.is_null() { &b""[..] } else { CStr::from_ptr(word).to_bytes() };
                PathBuf::from(OsStr::from_bytes(bytes))
            };
            let words = (code == 0).then(|| (0..found.count).map(word).collect());
            if code == 0 {
                wordfree(&mut found);
            }
            words
        }
    }

    fn directory() -> TempDir {
        let directory = TempDir::new().unwrap();
        for name in ["eth0", "eth1", ".hidden", "a b", "a*b", "x.cfg", "a\\b", "[z"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::create_dir(directory.path().join("d")).unwrap();
        fs::write(directory.path().join("d/eth0"), "").unwrap();
        directory
    }

    fn assert_same(directory: &TempDir, text: &str) {
        let text = format!("{}/{text}", directory.path().display());
        let expected = by_libc(text.as_bytes());
        match Root::new(Path::new("/")).expand(text.as_bytes()) {
            Ok(found) => assert_eq!(Some(found), expected, "{text}"),
            Err(Failure::Rejected(_)) => assert_eq!(expected, None, "{text}"),
            Err(Failure::Unknown(_)) => {}
        }
    }

    #[test]
    fn patterns_and_quotes_as_the_c_library_has_them() {
        let directory = directory();
        for text in [
            "[^.]*",
            "[!.]*",
            "*",
            "**",
            "a**",
            r"\\/?",
            r#"?"\/*"#,
            "**/eth0",
            "*/eth0",
            "[[:alpha:]]*",
            "eth[0-9]",
            "eth[[:digit:]]",
            "eth?",
            ".h*",
            "none*",
            "[z",
            "eth[",
            "'a*b'",
            "\"a*b\"",
            "'a*'b*",
            "\"a\\b\"",
            "a\\\\b",
            "a\\ b",
            "'a b'",
            "eth0 eth1",
            "eth0 # wan",
            "~",
            "x ~root/y ~nobody-here/z ~",
            "\"\"",
            "$NOSUCH",
            "${NOSUCH}x",
            "\"$NOSUCH\"",
            "$",
            "$/x",
            "a|b",
            "$(ls)",
            "`ls`",
            "{a,b}",
            "'a",
            "a\\",
        ] {
            assert_same(&directory, text);
        }
    }

    #[test]
    fn patterns_that_only_ifup_can_expand_are_reported() {
        for text in ["/a/$1", "/a/$$", "/a/$#", "/a/${NAME:-x}", "/a/$((1+1))", "/a/\"$@\""] {
            let found = Root::new(Path::new("/")).expand(text.as_bytes());
            assert!(matches!(found, Err(Failure::Unknown(_))), "{text}: {found:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
        #[test]
        fn any_argument_as_the_c_library_has_it(text in r#"[\]\[eth01abdz.*?^! '"\\/~$|-]{0,10}"#) {
            // glibc's own crashes at `$[]`.
            if !text.contains("$[") {
                assert_same(&directory(), &text);
            }
        }
    }
}
