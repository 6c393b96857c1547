//! What must not stand in a text of this tree, and what must.

use crate::TextFile;
use crate::source::Source;

/// Where people's and machines' own directories begin. Written in two parts, so that this file is
/// no violation of its own rule.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// Lists unfinished code and tests that do not run.
pub fn unfinished(source: &Source) -> Vec<String> {
    let mut violations = Vec::new();
    let tokens = &source.tokens;
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1).map_or("", |token| token.text.as_str());
        let before = at.checked_sub(1).map_or("", |at| tokens[at].text.as_str());
        let word = token.text.as_str();
        if matches!(word, "todo" | "unimplemented") && next == "!" {
            violations.push(source.at(token.line, &format!("{word}! is not done")));
        }
        if word == "ignore" && before == "[" {
            violations.push(source.at(token.line, "an ignored test proves nothing"));
        }
    }
    violations
}

/// Lists absolute paths of a machine. A path is absolute when no other part stands before it.
pub fn machine_paths(file: &TextFile) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for path in MACHINE_PATHS {
            let inside = |at: usize| {
                line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.*}$~".contains(c))
            };
            if line.match_indices(path).any(|(at, _)| !inside(at)) {
                let message = format!("{}:{}: a machine's path: {path}", file.path, number + 1);
                violations.push(message);
            }
        }
    }
    violations
}

/// Lists npm lock files that say from which host a package was fetched.
pub fn download_hosts(file: &TextFile) -> Vec<String> {
    if file.path.ends_with("package-lock.json") && file.text.contains("\"resolved\"") {
        let fix = "with `omit-lockfile-registry-resolved=true` in .npmrc, npm leaves them out";
        return vec![format!("{}: \"resolved\" names a download host; {fix}", file.path)];
    }
    Vec::new()
}

/// Lists licence files that are missing or cut short.
pub fn licences(files: &[TextFile]) -> Vec<String> {
    let wanted = [
        ("LICENSE-MIT", "Permission is hereby granted, free of charge"),
        ("LICENSE-APACHE", "END OF TERMS AND CONDITIONS"),
    ];
    let has = |path: &str, text: &str| {
        files.iter().any(|file| file.path == path && file.text.contains(text))
    };
    let missing = wanted.into_iter().filter(|(path, text)| !has(path, text));
    missing.map(|(path, _)| format!("{path} is missing, or not the whole text")).collect()
}

/// Lists Rust snippets of the README that are not, word for word, the example that the comment
/// above them names (`<!-- examples/readme.rs -->`). An example's own essay is left out of the
/// quotation.
pub fn readme(files: &[TextFile]) -> Vec<String> {
    let Some(readme) = files.iter().find(|file| file.path == "README.md") else {
        return vec!["README.md is missing".into()];
    };
    let mut violations = Vec::new();
    let mut lines = readme.text.lines().enumerate();
    let mut above = "";
    while let Some((number, line)) = lines.next() {
        if line.starts_with("```rust") {
            let body: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            if let Err(reason) = compare(above, &body, files) {
                violations.push(format!("README.md:{}: {reason}", number + 1));
            }
        }
        above = line;
    }
    if !readme.text.contains("```rust") {
        violations.push("README.md shows no Rust".into());
    }
    violations
}

fn compare(above: &str, snippet: &[&str], files: &[TextFile]) -> Result<(), String> {
    let named = above.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
    let path = named.ok_or("a Rust snippet without `<!-- examples/NAME.rs -->` right above it")?;
    let example = files.iter().find(|file| file.path == path);
    let example = example.ok_or_else(|| format!("the snippet names {path}, which is missing"))?;
    let quoted: Vec<&str> = example
        .text
        .lines()
        .skip_while(|line| line.starts_with("//!") || line.is_empty())
        .collect();
    if quoted == snippet {
        return Ok(());
    }
    let differs = quoted.iter().zip(snippet).position(|(one, other)| one != other);
    let at = differs.unwrap_or_else(|| quoted.len().min(snippet.len())) + 1;
    Err(format!("the snippet is not {path}: they differ from the snippet's line {at} on"))
}

/// The examples that the guide quotes.
const QUOTED: [&str; 2] = ["examples/guide.rs", "examples/grow.rs"];

/// Lists Rust snippets of the guide that are not lines of one of its examples, in the example's own
/// order of lines; the indentation that they have there in common is left out.
pub fn guide(files: &[TextFile]) -> Vec<String> {
    let text = |path: &str| {
        files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str())
    };
    let examples = QUOTED.map(|path| text(path).lines().collect::<Vec<&str>>());
    let mut violations = Vec::new();
    let mut shown = 0;
    let mut lines = text("docs/guide.md").lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line != "```rust" {
            continue;
        }
        let snippet: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        shown += 1;
        let mut windows = examples.iter().flat_map(|example| example.windows(snippet.len()));
        if !windows.any(|window| is_indented(window, &snippet)) {
            let message = format!("the snippet is nowhere in {}", QUOTED.join(" or "));
            violations.push(format!("docs/guide.md:{}: {message}", number + 1));
        }
    }
    if shown == 0 {
        violations.push("docs/guide.md is missing, or shows no Rust".into());
    }
    violations
}

/// Reports whether `lines` are those of `snippet`, all behind the same blanks.
fn is_indented(lines: &[&str], snippet: &[&str]) -> bool {
    let Some(blanks) = lines.first().zip(snippet.first()).and_then(|(line, first)| {
        line.strip_suffix(first).filter(|blanks| blanks.trim().is_empty())
    }) else {
        return false;
    };
    let same = |(line, snippet): (&&str, &&str)| {
        line == snippet && line.is_empty() || line.strip_prefix(blanks) == Some(snippet)
    };
    lines.iter().zip(snippet).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.into(), text: text.into() }
    }

    #[test]
    fn unfinished_code_is_a_violation() {
        for text in
            ["fn a() { todo!() }", "fn a() { unimplemented!(\"b\") }", "#[ignore = \"slow\"]"]
        {
            assert_eq!(unfinished(&Source::new("a.rs", text.into())).len(), 1, "{text}");
        }
        let fine = "// todo!()\nfn ignore(todo: u8) { \"todo!\"; }";
        assert_eq!(unfinished(&Source::new("a.rs", fine.into())), Vec::<String>::new());
    }

    #[test]
    fn a_machines_path_is_a_violation_and_a_relative_one_is_none() {
        let machine = concat!("see /ro", "ot/.cargo");
        assert_eq!(machine_paths(&file("a.md", machine)).len(), 1);
        let relative = concat!("net", "/wo", "rk/ and ./ro", "ot/ and https://a.b/ho", "me/");
        assert_eq!(machine_paths(&file("a.md", relative)), Vec::<String>::new());
    }

    #[test]
    fn a_lock_file_with_hosts_is_a_violation() {
        let text = "{\"resolved\": \"https://a.b/c.tgz\"}";
        assert_eq!(download_hosts(&file("ui/package-lock.json", text)).len(), 1);
        assert_eq!(download_hosts(&file("ui/package-lock.json", "{}")), Vec::<String>::new());
    }

    #[test]
    fn a_missing_or_cut_licence_is_a_violation() {
        let mit = file("LICENSE-MIT", "Permission is hereby granted, free of charge");
        assert_eq!(licences(&[mit, file("LICENSE-APACHE", "Apache License")]).len(), 1);
    }

    #[test]
    fn a_guide_that_differs_from_its_example_is_a_violation() {
        let guide_with = |body: &str| {
            let example = "//! Essay.\nfn a() {\n    b();\n\n    if c {\n        d();\n    }\n}\n";
            let text = format!("# A\n```rust\n{body}\n```\n```sh\nls\n```\n");
            guide(&[file("docs/guide.md", &text), file("examples/guide.rs", example)]).len()
        };
        for quoted in ["b();", "b();\n\nif c {\n    d();\n}", "fn a() {\n    b();"] {
            assert_eq!(guide_with(quoted), 0, "{quoted}");
        }
        for other in ["e();", "b();\nif c {", "if c {\nd();", "b()"] {
            assert_eq!(guide_with(other), 1, "{other}");
        }
        assert_eq!(guide(&[]).len(), 1);
    }

    #[test]
    fn a_readme_that_differs_from_its_example_is_a_violation() {
        let readme_with = |comment: &str, body: &str| {
            let text = format!("# A\n{comment}\n```rust\n{body}\n```\n");
            let example = "//! Essay.\n\nfn main() {}\n";
            readme(&[file("README.md", &text), file("examples/a.rs", example)])
        };
        let named = "<!-- examples/a.rs -->";
        assert_eq!(readme_with(named, "fn main() {}"), Vec::<String>::new());
        assert!(readme_with(named, "fn other() {}")[0].contains("line 1"));
        assert!(readme_with(named, "fn main() {}\nfn more() {}")[0].contains("line 2"));
        assert!(readme_with("<!-- examples/b.rs -->", "fn main() {}")[0].contains("missing"));
        assert!(readme_with("", "fn main() {}")[0].contains("without"));
        assert_eq!(readme(&[file("README.md", "# A\n")]).len(), 1);
        assert_eq!(readme(&[]).len(), 1);
    }
}
