//! The simple commands in a line, and whether the line fails when they fail.
//!
//! Only the part of the shell's grammar that stanzas use: commands joined by `;`, `&&`, `||` or `|`, quotes, variables,
//! redirections, and the placeholder `<NAME>` of documentation. Every line has a result.

use std::borrow::Cow;

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take, take_while_m_n};
use nom::character::complete::{char, digit0, space0};
use nom::combinator::{map, opt, recognize, rest, value};
use nom::multi::{fold_many0, many0};
use nom::sequence::{delimited, preceded};

use super::words::Word;

/// Most commands have no more words.
const USUAL_WORDS: usize = 8;
/// The longest `${…}` that is read, so that the time to read a line is linear in its length.
const LONGEST_VARIABLE: usize = 256;

/// Words that may come before a command.
pub(crate) fn introduces(word: &str) -> bool {
    let is_before = matches!(
        word,
        "if" | "then"
            | "else"
            | "elif"
            | "do"
            | "while"
            | "until"
            | "!"
            | "sudo"
            | "exec"
            | "command"
            | "time"
            | "env"
            | "nohup"
            | "-"
    );
    let equals = || word.bytes().position(|byte| byte == b'=');
    is_before || equals().is_some_and(|equals| is_name(&word[..equals]))
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && text.starts_with(|c: char| !c.is_ascii_digit())
}

/// For each command, does its failure make the line fail? From the last to the first: a line may have any length.
fn failure_propagates(segments: &[Segment<'_>]) -> Vec<bool> {
    let mut failure_propagates = vec![true; segments.len()];
    let mut only_fi = true;
    for index in (0..segments.len()).rev() {
        failure_propagates[index] = match segments[index].after {
            Separator::And if index + 1 < segments.len() => failure_propagates[index + 1],
            Separator::Or => false,
            _ => only_fi,
        };
        only_fi &= segments[index].words == ["fi"];
    }
    failure_propagates
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separator {
    And,
    Or,
    /// `;`, `|`, `&`, a bracket, or the end of the line.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Word(Word<'a>),
    /// `<NAME>`, as in documentation.
    Placeholder(&'a str),
    /// The file name that follows belongs to it.
    Redirect,
    Separator(Separator),
}

/// A simple command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) words: Vec<Word<'a>>,
    pub(crate) placeholder: Option<&'a str>,
    pub(crate) before: Separator,
    after: Separator,
    /// The line fails when this command does.
    pub(crate) failure_propagates: bool,
    /// Its words may contain variables.
    pub(crate) has_variables: bool,
}

/// The byte begins a variable.
const VARIABLE: u8 = 1;
/// A line with this byte has more than plain words and blanks.
const SPECIAL: u8 = 2;

/// A table, because every byte of every line is looked up.
const KINDS: [u8; 256] = {
    let (mut kinds, mut byte) = ([0; 256], 0);
    while byte < kinds.len() {
        kinds[byte] = match byte as u8 {
            b'$' => VARIABLE,
            b'\'' | b'"' | b'\\' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' | b'{' | b'}' => SPECIAL,
            b'\n' | b'\r' | 0x0b | 0x0c | b'#' => SPECIAL,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

/// A line that is one command of plain words, as most lines are.
pub(crate) fn plain(line: &str) -> Option<Segment<'_>> {
    let kinds = line.bytes().fold(0, |kinds, byte| kinds | KINDS[usize::from(byte)]);
    if kinds & SPECIAL != 0 {
        return None;
    }
    let mut words = Vec::with_capacity(USUAL_WORDS);
    words.extend(line.split_ascii_whitespace().map(Word::from));
    let (before, after, has_variables) = (Separator::End, Separator::End, kinds & VARIABLE != 0);
    Some(Segment { words, placeholder: None, before, after, failure_propagates: true, has_variables })
}

fn grammar(line: &str) -> Vec<Token<'_>> {
    type Out<'a, T> = nom::IResult<&'a str, T>;
    const ENDS_WORD: &str = " \t\n\r\x0b\x0c'\"\\;&|<>(){}";
    fn part(input: &str) -> Out<'_, &str> {
        let single = delimited(char('\''), map(opt(is_not("'")), Option::unwrap_or_default), char('\''));
        let double = delimited(char('"'), map(opt(is_not("\"")), Option::unwrap_or_default), char('"'));
        let escaped = preceded(char('\\'), take(1usize));
        // `${IFACE}` has braces inside a word.
        let variable = recognize((tag("${"), take_while_m_n(1, LONGEST_VARIABLE, |c| c != '}'), char('}')));
        let plain = is_not(" \t\n\r\x0b\x0c'\"\\;&|<>(){}$");
        let dollar = is_not(ENDS_WORD);
        alt((single, double, escaped, variable, plain, dollar)).parse(input)
    }
    fn word(input: &str) -> Out<'_, Token<'_>> {
        let (input, first) = part(input)?;
        map(fold_many0(part, move || Word::from(first), |word, part| word + part), Token::Word).parse(input)
    }
    fn token(input: &str) -> Out<'_, Token<'_>> {
        let name = is_not(" \t\n\r\x0b\x0c'\"\\;&|<>(){}$/");
        let placeholder = map(recognize((char('<'), name, char('>'))), Token::Placeholder);
        // `2>/dev/null`: the number belongs to the redirection, if no blank is between them.
        let operator = alt((tag(">>"), tag(">&"), tag("<&"), tag("<"), tag(">")));
        let redirect = value(Token::Redirect, (digit0, operator));
        let and = value(Token::Separator(Separator::And), tag("&&"));
        let or = value(Token::Separator(Separator::Or), tag("||"));
        let comment = value(Token::Separator(Separator::End), (char('#'), rest));
        // Any other character ends a command. So does a quote without its partner: then every input has a result.
        let end = value(Token::Separator(Separator::End), take(1usize));
        delimited(space0, alt((comment, placeholder, redirect, and, or, word, end)), space0).parse(input)
    }
    many0(token).parse(line).map_or_else(|_| Vec::new(), |(_, tokens)| tokens)
}

/// The simple commands of any line.
pub(crate) fn shell(line: &str) -> Vec<Segment<'_>> {
    let mut segments: Vec<Segment<'_>> = Vec::new();
    let (mut words, mut placeholder, mut before, mut skip) = (Vec::new(), None, Separator::End, false);
    for token in grammar(line).into_iter().chain([Token::Separator(Separator::End)]) {
        match token {
            Token::Word(_) if skip => skip = false,
            Token::Word(word) => words.push(word),
            Token::Placeholder(word) => {
                placeholder.get_or_insert(word);
                words.push(word.into());
            }
            Token::Redirect => skip = true,
            Token::Separator(separator) if words.is_empty() => {
                // A bracket next to `&&` or `||` does not change it.
                if separator != Separator::End {
                    before = separator;
                    if let Some(last) = segments.last_mut() {
                        last.after = separator;
                    }
                }
            }
            Token::Separator(after) => {
                let words = std::mem::take(&mut words);
                segments.push(Segment {
                    words,
                    placeholder: placeholder.take(),
                    before,
                    after,
                    failure_propagates: true,
                    has_variables: true,
                });
                (before, skip) = (after, false);
            }
        }
    }
    let failure_propagates = failure_propagates(&segments);
    segments
        .iter_mut()
        .zip(failure_propagates)
        .for_each(|(segment, failure_propagates)| segment.failure_propagates = failure_propagates);
    segments
}

/// The word as the shell passes it to the command.
pub(crate) fn expand<'a>(word: &Word<'a>, variable: &dyn Fn(&str) -> Option<String>) -> Word<'a> {
    if !word.bytes().any(|byte| byte == b'$') {
        return word.clone();
    }
    let mut out = String::new();
    let mut rest = &**word;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        let braced = after.strip_prefix('{');
        let (name, behind) = match braced.and_then(|inner| inner.bytes().take(LONGEST_VARIABLE).position(|b| b == b'}'))
        {
            Some(length) => (&after[1..length + 1], &after[length + 2..]),
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        match variable(name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[dollar..rest.len() - behind.len()]),
        }
        rest = behind;
    }
    Cow::Owned(out + rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_lines_have_the_words_of_the_grammar(line in "[a-c0-9 \t$/#.'=-]{0,12}") {
            let words = plain(&line).map(|segment| segment.words.into_iter().map(Token::Word).collect());
            prop_assert_eq!(words.unwrap_or_else(|| grammar(&line)), grammar(&line));
        }
    }
}
