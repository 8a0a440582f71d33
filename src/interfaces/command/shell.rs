//! The simple commands in a line, and what becomes of their failures.
//!
//! As much shell as people write in a stanza: commands joined by `;`, `&&`, `||` or `|`, quotes, variables,
//! redirections, documentation's `<NAME>`. Every line is taken for something.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take};
use nom::character::complete::{char, digit0, space0};
use nom::combinator::{map, opt, recognize, rest, value};
use nom::multi::{fold_many0, many0};
use nom::sequence::{delimited, preceded};

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

/// Does the line fail when this command does?
pub(super) fn is_heeded(segments: &[Segment], at: usize) -> bool {
    match segments[at].after {
        Joint::And if at + 1 < segments.len() => is_heeded(segments, at + 1),
        Joint::Or => false,
        _ => segments[at + 1..].iter().all(|rest| rest.words == ["fi"]),
    }
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
}

pub(super) fn shell(line: &str) -> Vec<Segment> {
    type Out<'a, T> = nom::IResult<&'a str, T>;
    const SPECIAL: &str = " \t\n\r\x0b\x0c'\"\\;&|<>(){}";
    fn part(input: &str) -> Out<'_, String> {
        let single = delimited(char('\''), map(opt(is_not("'")), Option::unwrap_or_default), char('\''));
        let double = delimited(char('"'), map(opt(is_not("\"")), Option::unwrap_or_default), char('"'));
        let escaped = preceded(char('\\'), take(1usize));
        // `${IFACE}` has braces inside a word.
        let variable = recognize((tag("${"), is_not("}"), char('}')));
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
                segments.push(Segment { words, placeholder: placeholder.take(), before, after });
                (before, skip) = (after, false);
            }
        }
    }
    segments
}

pub(super) fn expand(word: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, behind) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(braced) => braced,
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
