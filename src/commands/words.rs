//! The words of a command, and the values of its keywords, in little memory: files may have many commands.

use std::borrow::Cow;

use ipnet::IpNet;

/// A word of a line. It is a copy only where quotes or variables make it differ from the line.
pub(crate) type Word<'a> = Cow<'a, str>;

/// A copy, which outlives the line.
pub(super) fn owned(word: Word) -> Word<'static> {
    Cow::Owned(word.into_owned())
}

/// The value of a keyword.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value<'a> {
    keyword: &'static str,
    pub(super) text: Word<'a>,
    /// The text as an address or network, if it was read as one, whatever the family of its command is.
    pub(super) net: Option<IpNet>,
}

/// Values by keyword, in the order of the keywords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Given<'a>(Vec<Value<'a>>);

impl<'a> Given<'a> {
    fn position(&self, keyword: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|known| known.keyword.cmp(keyword))
    }

    /// A command has few values.
    pub(super) fn value(&self, keyword: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|known| known.keyword == keyword)
    }

    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.value(keyword).map(|value| &*value.text)
    }

    pub(super) fn has(&self, keyword: &str) -> bool {
        self.value(keyword).is_some()
    }

    /// Replaces an earlier value.
    pub(super) fn insert(&mut self, keyword: &'static str, text: Word<'a>, net: Option<IpNet>) {
        let value = Value { keyword, text, net };
        match self.position(keyword) {
            Ok(position) => self.0[position] = value,
            Err(position) => self.0.insert(position, value),
        }
    }

    /// Keeps an earlier value.
    pub(super) fn insert_first(&mut self, keyword: &'static str, text: Word<'a>) {
        if let Err(position) = self.position(keyword) {
            self.0.insert(position, Value { keyword, text, net: None });
        }
    }

    pub(super) fn remove(&mut self, keyword: &str) -> Option<Word<'a>> {
        self.position(keyword).ok().map(|position| self.0.remove(position).text)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|value| (value.keyword, &*value.text))
    }

    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    pub(super) fn into_owned(self) -> Given<'static> {
        let owned = |value: Value| Value { keyword: value.keyword, text: owned(value.text), net: value.net };
        Given(self.0.into_iter().map(owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_order_of_their_keywords() {
        let mut given = Given::default();
        for (keyword, value) in [("via", "a"), ("dev", "b"), ("to", "c"), ("via", "d")] {
            given.insert(keyword, value.into(), None);
        }
        given.insert_first("dev", "e".into());
        assert!(given.iter().eq([("dev", "b"), ("to", "c"), ("via", "d")]));
        assert_eq!((given.remove("to").as_deref(), given.has("to"), given.get("dev")), (Some("c"), false, Some("b")));
    }
}
