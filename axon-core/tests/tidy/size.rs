//! Files that tell one story, functions that fit on a screen.

use crate::source::{Source, closing};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Lists what is too long. Lines of code count; blank lines and comments do not, tests do.
pub fn lengths(source: &Source) -> Vec<String> {
    let mut violations = Vec::new();
    let lines = source.code_lines(&(1..=usize::MAX));
    if lines > FILE_LINES_MAX {
        let message = format!("{lines} lines of code in one file, the limit is {FILE_LINES_MAX}");
        violations.push(source.at(1, &message));
    }
    let tokens = &source.tokens;
    for at in 0..tokens.len() {
        let Some(end) = function_end(source, at) else { continue };
        let lines = source.code_lines(&(tokens[at].line..=tokens[end].line));
        if lines > FUNCTION_LINES_MAX {
            let name = &tokens[at + 1].text;
            let message = format!("fn {name} has {lines} lines, the limit is {FUNCTION_LINES_MAX}");
            violations.push(source.at(tokens[at].line, &message));
        }
    }
    violations
}

/// The closing brace of the function whose `fn` stands at `at`; `None` when none begins there, or
/// when it has no body.
fn function_end(source: &Source, at: usize) -> Option<usize> {
    let tokens = &source.tokens;
    let named = tokens.get(at + 1)?.text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    if tokens[at].text != "fn" || !named {
        return None;
    }
    let mut body = at;
    loop {
        body += 1;
        match tokens.get(body)?.text.as_str() {
            "(" | "[" => body = closing(tokens, body),
            "{" => return Some(closing(tokens, body)).filter(|end| *end < tokens.len()),
            ";" => return None,
            _ => {}
        }
    }
}

/// Lists `source` when it does not open with `//!`.
pub fn essay(source: &Source) -> Vec<String> {
    if source.text.starts_with("//!") {
        return Vec::new();
    }
    vec![source.at(1, "a file opens with `//!`: what it hides and what it relies on")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        let body = "    { a('}'); } // }\n\n".repeat(lines - 2);
        format!("//! A.\ntrait T {{ fn t(&self, b: [u8; 3]); }}\nfn long(c: fn(u8)) {{\n{body}}}\n")
    }

    #[test]
    fn a_long_function_is_a_violation_and_the_longest_allowed_is_none() {
        let bad = lengths(&Source::new("a.rs", function(71)));
        assert_eq!(bad, ["a.rs:3: fn long has 71 lines, the limit is 70"]);
        assert_eq!(lengths(&Source::new("a.rs", function(70))), Vec::<String>::new());
    }

    #[test]
    fn a_long_file_is_a_violation_and_the_longest_allowed_is_none() {
        let file = |lines| Source::new("a.rs", "use a;\n// b\n\n".repeat(lines));
        assert_eq!(lengths(&file(501)).len(), 1);
        assert_eq!(lengths(&file(500)), Vec::<String>::new());
    }

    #[test]
    fn a_file_without_an_essay_is_a_violation() {
        assert_eq!(essay(&Source::new("a.rs", "// a\nuse b;\n".into())).len(), 1);
        assert_eq!(essay(&Source::new("a.rs", "//! A.\n".into())), Vec::<String>::new());
    }
}
