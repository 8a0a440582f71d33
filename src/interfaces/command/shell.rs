//! The simple commands in a line, and what becomes of their failures.
//!
//! As much shell as people write in a stanza: commands joined by `;`, `&&`, `||` or `|`, quotes, variables,
//! redirections, documentation's `<NAME>`. Every line is taken for something.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take, take_while_m_n};
use nom::character::complete::{char, digit0, space0};
use nom::combinator::{map, opt, recognize, rest, value};
use nom::multi::{fold_many0, many0};
use nom::sequence::{delimited, preceded};

/// How far the end of `${…` is looked for, so that a line of any length is read in a time that grows with it.
const LONGEST_VARIABLE: usize = 256;

/// Reserved words and the like that may stand before a command.
pub(super) fn introduces(word: &str) -> bool {
    const BEFORE: [&str; 15] = [
        "if", "then", "else", "elif", "do", "while", "until", "!", "sudo", "exec", "command", "time", "env", "nohup",
        "-",
    ];
    let assigns = word.split_once('=').is_some_and(|(name, _)| is_name(name));
    BEFORE.contains(&word) || assigns
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && text.starts_with(|c: char| !c.is_ascii_digit())
}

/// Which of these commands' failures is the line's? From the last to the first, for a line may be of any length.
fn heeded(segments: &[Segment]) -> Vec<bool> {
    let mut heeded = vec![true; segments.len()];
    let mut only_fi = true;
    for at in (0..segments.len()).rev() {
        heeded[at] = match segments[at].after {
            Joint::And if at + 1 < segments.len() => heeded[at + 1],
            Joint::Or => false,
            _ => only_fi,
        };
        only_fi &= segments[at].words == ["fi"];
    }
    heeded
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    And,
    Or,
    /// `;`, `|`, `&`, a bracket, or the end of the line.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `<NAME>`, as documentation has it.
    Placeholder(String),
    /// The file name that follows belongs to it.
    Redirect,
    Joint(Joint),
}

/// A simple command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) words: Vec<String>,
    pub(super) placeholder: Option<String>,
    pub(super) before: Joint,
    after: Joint,
    /// The line fails when this command does.
    pub(super) heeded: bool,
}

pub(super) fn shell(line: &str) -> Vec<Segment> {
    type Out<'a, T> = nom::IResult<&'a str, T>;
    const SPECIAL: &str = " \t\n\r\x0b\x0c'\"\\;&|<>(){}";
    fn part(input: &str) -> Out<'_, String> {
        let single = delimited(char('\''), map(opt(is_not("'")), Option::unwrap_or_default), char('\''));
        let double = delimited(char('"'), map(opt(is_not("\"")), Option::unwrap_or_default), char('"'));
        let escaped = preceded(char('\\'), take(1usize));
        // `${IFACE}` has braces inside a word.
        let variable = recognize((tag("${"), take_while_m_n(1, LONGEST_VARIABLE, |c| c != '}'), char('}')));
        let plain = is_not(" \t\n\r\x0b\x0c'\"\\;&|<>(){}$");
        let dollar = is_not(SPECIAL);
        map(alt((single, double, escaped, variable, plain, dollar)), str::to_string).parse(input)
    }
    fn word(input: &str) -> Out<'_, Token> {
        let (input, first) = part(input)?;
        map(fold_many0(part, move || first.clone(), |word, part| word + &part), Token::Word).parse(input)
    }
    fn token(input: &str) -> Out<'_, Token> {
        let name = is_not(" \t\n\r\x0b\x0c'\"\\;&|<>(){}$/");
        let placeholder = map(recognize((char('<'), name, char('>'))), |word: &str| Token::Placeholder(word.into()));
        // `2>/dev/null`: the number belongs to the redirection, if nothing stands between.
        let operator = alt((tag(">>"), tag(">&"), tag("<&"), tag("<"), tag(">")));
        let redirect = value(Token::Redirect, (digit0, operator));
        let and = value(Token::Joint(Joint::And), tag("&&"));
        let or = value(Token::Joint(Joint::Or), tag("||"));
        let comment = value(Token::Joint(Joint::End), (char('#'), rest));
        // Anything else ends a command; a stray quote too, so that every input comes to an end.
        let end = value(Token::Joint(Joint::End), take(1usize));
        delimited(space0, alt((comment, placeholder, redirect, and, or, word, end)), space0).parse(input)
    }
    let tokens = many0(token).parse(line).map_or_else(|_| Vec::new(), |(_, tokens)| tokens);
    let mut segments: Vec<Segment> = Vec::new();
    let (mut words, mut placeholder, mut before, mut skip) = (Vec::new(), None, Joint::End, false);
    for token in tokens.into_iter().chain([Token::Joint(Joint::End)]) {
        match token {
            Token::Word(_) if skip => skip = false,
            Token::Word(word) => words.push(word),
            Token::Placeholder(word) => {
                placeholder.get_or_insert(word.clone());
                words.push(word);
            }
            Token::Redirect => skip = true,
            Token::Joint(joint) if words.is_empty() => {
                // A bracket beside `&&` or `||` does not undo it.
                if joint != Joint::End {
                    before = joint;
                    if let Some(last) = segments.last_mut() {
                        last.after = joint;
                    }
                }
            }
            Token::Joint(after) => {
                let words = std::mem::take(&mut words);
                segments.push(Segment { words, placeholder: placeholder.take(), before, after, heeded: true });
                (before, skip) = (after, false);
            }
        }
    }
    let heeded = heeded(&segments);
    segments.iter_mut().zip(heeded).for_each(|(segment, heeded)| segment.heeded = heeded);
    segments
}

pub(super) fn expand(word: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{');
        let (name, behind) = match braced.and_then(|inner| inner.bytes().take(LONGEST_VARIABLE).position(|b| b == b'}'))
        {
            Some(length) => (&after[1..length + 1], &after[length + 2..]),
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        match variable(name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[at..rest.len() - behind.len()]),
        }
        rest = behind;
    }
    out + rest
}
