//! The words of a command, and the values of its keywords, in little memory: files may have many commands.

use std::borrow::Cow;

/// A word of a line. It is a copy only where quotes or variables make it differ from the line.
pub(crate) type Word<'a> = Cow<'a, str>;

/// Words, joined by blanks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    text: Box<str>,
    /// The end of each word in the text.
    ends: Box<[usize]>,
}

impl Words {
    pub(super) fn new<T: AsRef<str>>(words: &[T]) -> Words {
        let length: usize = words.iter().map(|word| word.as_ref().len() + 1).sum();
        let mut text = String::with_capacity(length.saturating_sub(1));
        let mut ends = Vec::with_capacity(words.len());
        for word in words {
            if !ends.is_empty() {
                text.push(' ');
            }
            text.push_str(word.as_ref());
            ends.push(text.len());
        }
        Words { text: text.into(), ends: ends.into() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn get(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        &self.text[start..self.ends[index]]
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        (0..self.ends.len()).map(|index| self.get(index))
    }
}

/// Values by keyword, in the order of the keywords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Given(Vec<(&'static str, Box<str>)>);

impl Given {
    fn position(&self, keyword: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (*known).cmp(keyword))
    }

    /// A command has few values.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == keyword).map(|(_, value)| &**value)
    }

    pub(super) fn has(&self, keyword: &str) -> bool {
        self.get(keyword).is_some()
    }

    /// Replaces an earlier value.
    pub(super) fn insert(&mut self, keyword: &'static str, value: &str) {
        match self.position(keyword) {
            Ok(position) => self.0[position].1 = value.into(),
            Err(position) => self.0.insert(position, (keyword, value.into())),
        }
    }

    /// Keeps an earlier value.
    pub(super) fn insert_first(&mut self, keyword: &'static str, value: &str) {
        if let Err(position) = self.position(keyword) {
            self.0.insert(position, (keyword, value.into()));
        }
    }

    pub(super) fn remove(&mut self, keyword: &str) -> Option<Box<str>> {
        self.position(keyword).ok().map(|position| self.0.remove(position).1)
    }

    /// Gives back the memory for further values.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(keyword, value)| (*keyword, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_by_blanks() {
        for words in [&["ip", "rule", "a b", "c"][..], &["", "ip"], &["ip", "", ""], &[]] {
            let joined = Words::new(words);
            assert_eq!(joined.text(), words.join(" "));
            assert!(joined.iter().eq(words.iter().copied()));
        }
    }

    #[test]
    fn values_are_in_the_order_of_their_keywords() {
        let mut given = Given::default();
        for (keyword, value) in [("via", "a"), ("dev", "b"), ("to", "c"), ("via", "d")] {
            given.insert(keyword, value);
        }
        given.insert_first("dev", "e");
        assert!(given.iter().eq([("dev", "b"), ("to", "c"), ("via", "d")]));
        assert_eq!((given.remove("to").as_deref(), given.has("to"), given.get("dev")), (Some("c"), false, Some("b")));
    }
}
