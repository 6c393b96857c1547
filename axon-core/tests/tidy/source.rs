//! A source file as tokens, without comments and without what stands inside string literals.

use std::ops::RangeInclusive;

/// A word, a number, `::`, or one punctuation character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// A path such as `std::time::Instant`, with the groups of a `use` multiplied out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodePath {
    pub parts: Vec<String>,
    pub line: usize,
}

/// A source file.
pub struct Source {
    /// Its path from the root of the workspace, with slashes.
    pub path: String,
    pub text: String,
    /// The text, comments blanked and string contents crossed out, line by line as before.
    pub code: String,
    pub tokens: Vec<Token>,
}

impl Source {
    pub fn new(path: &str, text: String) -> Self {
        let code = blank(&text);
        let tokens = tokens(&code);
        Self { path: path.to_owned(), text, code, tokens }
    }

    /// Says where a violation is.
    pub fn at(&self, line: usize, message: &str) -> String {
        format!("{}:{line}: {message}", self.path)
    }

    /// Lines that hold code, within `lines`.
    pub fn code_lines(&self, lines: &RangeInclusive<usize>) -> usize {
        let numbered = self.code.lines().enumerate();
        numbered.filter(|(at, line)| lines.contains(&(at + 1)) && !line.trim().is_empty()).count()
    }

    /// The tokens outside of items, and of files, that exist only under test.
    pub fn shipped(&self) -> Vec<Token> {
        let mut kept = Vec::new();
        let mut at = if self.path.ends_with("/tests.rs") { self.tokens.len() } else { 0 };
        while at < self.tokens.len() {
            if let Some(end) = test_item_end(&self.tokens, at) {
                at = end;
            } else {
                kept.push(self.tokens[at].clone());
                at += 1;
            }
        }
        kept
    }
}

/// Blanks comments, and puts `_` in place of what stands in string and character literals.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let Some(end) = comment_end(&chars, at).or_else(|| literal_end(&chars, at)) else {
            code.push(chars[at]);
            at += 1;
            continue;
        };
        let filler = if chars[at] == '/' { ' ' } else { '_' };
        code.extend(chars[at..end].iter().map(|c| if c.is_whitespace() { *c } else { filler }));
        at = end;
    }
    code
}

fn comment_end(chars: &[char], at: usize) -> Option<usize> {
    if chars[at..].starts_with(&['/', '/']) {
        return Some(chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n));
    }
    if !chars[at..].starts_with(&['/', '*']) {
        return None;
    }
    let (mut depth, mut end) = (0, at);
    while end < chars.len() {
        if chars[end..].starts_with(&['/', '*']) {
            (depth, end) = (depth + 1, end + 2);
        } else if chars[end..].starts_with(&['*', '/']) {
            (depth, end) = (depth - 1, end + 2);
            if depth == 0 {
                return Some(end);
            }
        } else {
            end += 1;
        }
    }
    Some(end)
}

/// The end of the string or character literal that begins at `at`; a lifetime is none.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    match chars[at] {
        '"' => Some(quoted_end(chars, at, '"')),
        '\'' if chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => {
            Some(quoted_end(chars, at, '\''))
        }
        'r' if at == 0 || !is_word(chars[at - 1]) || is_byte_prefix(chars, at) => {
            raw_end(chars, at)
        }
        _ => None,
    }
}

fn is_byte_prefix(chars: &[char], at: usize) -> bool {
    matches!(chars[at - 1], 'b' | 'c') && (at == 1 || !is_word(chars[at - 2]))
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |end: &usize| {
        chars[*end] == '"'
            && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let close = (open + 1..chars.len()).find(closes);
    Some(close.map_or(chars.len(), |close| close + 1 + hashes))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            tokens.push(Token { text: rest[..length].to_owned(), line: number + 1 });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Where the item ends whose `#[cfg(test)]` begins at `at`; `None` when none begins there.
fn test_item_end(tokens: &[Token], at: usize) -> Option<usize> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    if text(at) != "#" || text(at + 1) != "[" || text(at + 2) != "cfg" {
        return None;
    }
    let mut end = closing(tokens, at + 1);
    let condition: Vec<&str> = (at + 3..end).map(text).collect();
    if !condition.contains(&"test") || condition.contains(&"not") {
        return None;
    }
    loop {
        end += 1;
        match text(end) {
            "" => return Some(end),
            "(" | "[" => end = closing(tokens, end),
            "{" => return Some(closing(tokens, end) + 1),
            ";" => return Some(end + 1),
            _ => {}
        }
    }
}

/// The place of the bracket that closes the one at `open`, whatever its kind.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Every path in `tokens`; a single word is a path of one part.
pub fn paths(tokens: &[Token]) -> Vec<CodePath> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text.starts_with(is_word) {
            at = path(tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads the path that begins at `at` behind `prefix`; returns where it ends.
fn path(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<CodePath>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let line = tokens[at].line;
    let mut parts = prefix.to_vec();
    loop {
        parts.push(text(at).to_owned());
        at += 1;
        if text(at) != "::" {
            break;
        }
        at += 1;
        if text(at) == "{" {
            let end = closing(tokens, at);
            while at < end {
                at = if text(at).starts_with(is_word) {
                    path(tokens, at, &parts, found)
                } else {
                    at + 1
                };
            }
            return end + 1;
        }
        if !text(at).starts_with(is_word) {
            break;
        }
    }
    found.push(CodePath { parts, line });
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &Source) -> Vec<String> {
        let all = source.tokens.iter().map(|token| token.text.clone());
        all.filter(|text| text.starts_with(char::is_alphabetic)).collect()
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        let text = r##"
            fn a<'x>(b: &'x str) { // hidden
                /* hidden /* hidden */ hidden */
                let c = "hidden \" hidden"; let d = r#"hidden " hidden"#; let e = '"'; let f = '\'';
                let g = br"hidden"; let attr = h;
            }
        "##;
        let source = Source::new("a.rs", text.into());
        let words = words(&source);
        assert!(words.contains(&"attr".into()) && words.contains(&"h".into()), "{words:?}");
        assert!(!source.code.contains("hidden"), "{}", source.code);
    }

    #[test]
    fn blank_and_comment_lines_do_not_count() {
        let source = Source::new("a.rs", "//! a\n\nfn a() {\n    // b\n    c();\n}\n".into());
        assert_eq!(source.code_lines(&(1..=6)), 3);
    }

    #[test]
    fn groups_are_multiplied_out() {
        let source = Source::new("a.rs", "use a::{b, c::{self, d as e}, f::*};".into());
        let paths: Vec<String> =
            paths(&source.tokens).into_iter().map(|path| path.parts.join("::")).collect();
        assert!(paths.contains(&"a::b".into()), "{paths:?}");
        assert!(paths.contains(&"a::c::self".into()), "{paths:?}");
        assert!(paths.contains(&"a::c::d".into()), "{paths:?}");
        assert!(paths.contains(&"a::f".into()), "{paths:?}");
    }

    #[test]
    fn what_exists_only_under_test_is_not_shipped() {
        let text = "fn a() {} #[cfg(test)] #[allow(b)] mod t { fn c() {} } fn d() {} \
                    #[cfg(not(test))] fn e() {} #[cfg(test)] use f::g; fn h() {}";
        let source = Source::new("a.rs", text.into());
        let shipped: Vec<String> = source.shipped().into_iter().map(|token| token.text).collect();
        for (word, expected) in
            [("a", true), ("c", false), ("d", true), ("e", true), ("g", false), ("h", true)]
        {
            assert_eq!(shipped.contains(&word.to_owned()), expected, "{word}");
        }
        assert!(Source::new("a/tests.rs", text.into()).shipped().is_empty());
    }
}
