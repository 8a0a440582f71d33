//! A part of a file. It shares the bytes of the file: the names and values of options are not copied.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use bstr::{BStr, ByteSlice};

#[derive(Clone, Default)]
pub struct Text {
    whole: Rc<Vec<u8>>,
    start: u32,
    end: u32,
}

impl Text {
    /// A part of this text, found by its place in memory; a copy if it is elsewhere.
    pub(super) fn part(&self, part: &[u8]) -> Text {
        match self.place(part) {
            Some([start, end]) => Text { whole: self.whole.clone(), start, end },
            None => Text::from(part),
        }
    }

    /// The first and the last position of a part in the shared bytes; nothing if it is elsewhere.
    pub(super) fn place(&self, part: &[u8]) -> Option<[u32; 2]> {
        let start = (part.as_ptr() as usize).wrapping_sub(self.whole.as_ptr() as usize);
        let end = start.checked_add(part.len()).filter(|end| *end <= self.whole.len())?;
        Some([u32::try_from(start).ok()?, u32::try_from(end).ok()?])
    }

    /// The shared bytes between two positions.
    pub(super) fn between(&self, [start, end]: [u32; 2]) -> &[u8] {
        let whole: &[u8] = &self.whole;
        &whole[..end as usize][start as usize..]
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.between([self.start, self.end])
    }
}

/// The first 4 GiB: a line cannot be longer, because a file is not.
impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        let end = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Text { whole: Rc::new(bytes), start: 0, end }
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        &self[..] == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl PartialEq<[u8]> for Text {
    fn eq(&self, other: &[u8]) -> bool {
        &self[..] == other
    }
}

impl PartialEq<BStr> for Text {
    fn eq(&self, other: &BStr) -> bool {
        self[..] == other[..]
    }
}

/// As that of [`BStr`], by which a map is searched.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bstr().hash(state);
    }
}

impl Borrow<BStr> for Text {
    fn borrow(&self) -> &BStr {
        self.as_bstr()
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bstr().fmt(f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bstr().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_shares_the_bytes() {
        let text = Text::from("iface eth0 inet dhcp");
        let (name, other) = (text.part(&text[6..10]), text.part(b"eth0"));
        assert_eq!((&name, &name), (&other, &Text::from("eth0")));
        assert!(Rc::ptr_eq(&name.whole, &text.whole) && !Rc::ptr_eq(&other.whole, &text.whole));
        assert_eq!(name.part(&name[4..]), "");
        assert_eq!(text.part(&[]), "");
    }
}
