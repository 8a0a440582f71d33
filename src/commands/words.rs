//! The words of a command, and the values of its keywords, in little memory: files may have many commands.

use std::borrow::Cow;

/// A word of a line. It is a copy only where quotes or variables make it differ from the line.
pub(crate) type Word<'a> = Cow<'a, str>;

/// A copy, which outlives the line.
pub(super) fn owned(word: Word) -> Word<'static> {
    Cow::Owned(word.into_owned())
}

/// Values by keyword, in the order of the keywords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Given<'a>(Vec<(&'static str, Word<'a>)>);

impl<'a> Given<'a> {
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
    pub(super) fn insert(&mut self, keyword: &'static str, value: Word<'a>) {
        match self.position(keyword) {
            Ok(position) => self.0[position].1 = value,
            Err(position) => self.0.insert(position, (keyword, value)),
        }
    }

    /// Keeps an earlier value.
    pub(super) fn insert_first(&mut self, keyword: &'static str, value: Word<'a>) {
        if let Err(position) = self.position(keyword) {
            self.0.insert(position, (keyword, value));
        }
    }

    pub(super) fn remove(&mut self, keyword: &str) -> Option<Word<'a>> {
        self.position(keyword).ok().map(|position| self.0.remove(position).1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(keyword, value)| (*keyword, &**value))
    }

    pub(super) fn into_owned(self) -> Given<'static> {
        Given(self.0.into_iter().map(|(keyword, value)| (keyword, owned(value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_order_of_their_keywords() {
        let mut given = Given::default();
        for (keyword, value) in [("via", "a"), ("dev", "b"), ("to", "c"), ("via", "d")] {
            given.insert(keyword, value.into());
        }
        given.insert_first("dev", "e".into());
        assert!(given.iter().eq([("dev", "b"), ("to", "c"), ("via", "d")]));
        assert_eq!((given.remove("to").as_deref(), given.has("to"), given.get("dev")), (Some("c"), false, Some("b")));
    }
}
