//! What a host calls, a host must find shown: an example in the documentation of each such method.

use crate::source::{Source, closing};

/// Whose every public method has an example. Elsewhere on the surface it is the asynchronous ones:
/// what builds them up is shown there.
const FULLY: [&str; 2] = ["Store", "Cluster"];

/// Lists the public methods of the surface whose documentation has no example.
pub fn examples(source: &Source) -> Vec<String> {
    let Some(file) = source.path.strip_prefix("axon-core/src/") else { return Vec::new() };
    if !["store/", "cluster/", "cluster.rs"].iter().any(|place| file.starts_with(place)) {
        return Vec::new();
    }
    let tokens = source.shipped();
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut violations = Vec::new();
    let mut fully_until = 0;
    for at in 0..tokens.len() {
        if text(at) == "impl" && text(at + 2) == "{" && FULLY.contains(&text(at + 1)) {
            fully_until = closing(&tokens, at + 2);
        }
        let awaited = text(at + 1) == "async";
        let name = at + if awaited || text(at + 1) == "const" { 3 } else { 2 };
        if text(at) != "pub" || text(name - 1) != "fn" || !(awaited || at < fully_until) {
            continue;
        }
        if !has_example(source, tokens[at].line) {
            let message = format!("fn {} is shown nowhere: add an example to its doc", text(name));
            violations.push(source.at(tokens[at].line, &message));
        }
    }
    violations
}

/// Reports whether the doc comment right above `line` has a block of code.
fn has_example(source: &Source, line: usize) -> bool {
    let lines: Vec<&str> = source.text.lines().take(line - 1).collect();
    let above = lines.iter().rev().map(|line| line.trim_start());
    let mut documented = above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
    documented.any(|line| line.starts_with("/// ```"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(text: &str) -> usize {
        examples(&Source::new("axon-core/src/store/mod.rs", text.into())).len()
    }

    #[test]
    fn a_method_without_an_example_is_a_violation() {
        for text in [
            "impl Store {\n    /// Reads.\n    pub fn get(&self) {}\n}",
            "impl Query {\n    /// Reads.\n    pub async fn page(self) {}\n}",
            "impl Cluster {\n    /// ```\n    /// a()\n    /// ```\n    fn a() {}\n    pub const fn b() {}\n}",
        ] {
            assert_eq!(bad(text), 1, "{text}");
        }
    }

    #[test]
    fn what_is_shown_private_or_a_step_is_none() {
        for text in [
            "impl Store {\n    /// Reads.\n    ///\n    /// ```\n    /// a();\n    /// ```\n    #[must_use]\n    pub fn a() {}\n}",
            "impl Store {\n    pub(crate) fn a() {}\n    async fn b() {}\n}",
            "impl Query {\n    /// A step.\n    pub fn limit(self) {}\n}",
            "#[cfg(test)] mod tests { impl Store { pub fn a() {} } }",
        ] {
            assert_eq!(bad(text), 0, "{text}");
        }
        let elsewhere = "impl Store { pub fn a() {} }";
        assert_eq!(examples(&Source::new("axon-core/src/state/mod.rs", elsewhere.into())).len(), 0);
    }
}
