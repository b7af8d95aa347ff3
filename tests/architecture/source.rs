//! Reading Rust source just well enough to hold it against rules: comments and literals blanked,
//! test code told apart, paths and functions found.

/// One file of the crate.
pub struct Source {
    /// Path from the crate's root, for example `src/wire/mac.rs`.
    pub path: String,
    /// As it stands in the file.
    pub raw: String,
    /// The same length and lines, with comments, strings and characters blanked.
    pub code: String,
    /// `code` with the items under `#[cfg(test)]` blanked too.
    pub product: String,
}

impl Source {
    pub fn new(path: &str, raw: &str) -> Source {
        let code = blank_literals(raw);
        let product = if is_test_file(path) { blank(&code) } else { blank_tests(&code) };
        Source { path: path.to_owned(), raw: raw.to_owned(), code, product }
    }

    /// Files (without `.rs`) of modules that this one declares under `#[cfg(test)]`.
    pub fn test_modules(&self) -> Vec<String> {
        let beside = match self.path.strip_suffix("/mod.rs") {
            Some(folder) => folder,
            None => self.path.trim_end_matches(".rs"),
        };
        let beside = if self.path == "src/lib.rs" { "src" } else { beside };
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("#[cfg(test)]") {
            let item = self.code[at..].split(['{', ';']).next().unwrap_or_default();
            if let Some((_, name)) = item.rsplit_once("mod ") {
                found.push(format!("{beside}/{}", name.trim()));
            }
        }
        found
    }

    /// All of it is test code.
    pub fn mark_as_test(&mut self) {
        self.product = blank(&self.code);
    }

    /// The top-level module the file belongs to: `wire` for `src/wire/mac.rs`.
    pub fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    /// How many names lead from the crate's root to this file's module.
    fn depth(&self) -> usize {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let names = inside.split('/').count();
        if inside.ends_with("mod.rs") { names - 1 } else { names }
    }

    /// Top-level modules the code names by `crate::x` or by enough `super::`, with their lines.
    pub fn top_level_paths(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let roots = [String::from("crate::"), "super::".repeat(self.depth())];
        for root in roots.iter().filter(|root| !root.is_empty()) {
            for (at, _) in self.code.match_indices(root.as_str()) {
                let before = self.code[..at].chars().next_back();
                if before.is_some_and(|c| is_word(c) || c == ':' || c == '$') {
                    continue;
                }
                let line = line_of(&self.code, at);
                let rest = &self.code[at + root.len()..];
                found.extend(first_names(rest).into_iter().map(|name| (line, name)));
            }
        }
        found
    }

    /// Functions of the code outside tests: line, name, length in lines.
    pub fn functions(&self) -> Vec<(usize, String, usize)> {
        let mut found = Vec::new();
        for at in words(&self.product, "fn") {
            let rest = &self.product[at + 2..];
            let name: String = rest.trim_start().chars().take_while(|c| is_word(*c)).collect();
            let Some(open) = rest.find(['{', ';']) else { continue };
            if name.is_empty() || rest.as_bytes()[open] == b';' {
                continue;
            }
            let end = open + block_len(&rest[open..]);
            found.push((line_of(&self.product, at), name, rest[..end].matches('\n').count() + 1));
        }
        found
    }
}

/// Places where `word` stands alone in `code`.
pub fn words(code: &str, word: &str) -> Vec<usize> {
    let is_alone = |at: usize| {
        !code[..at].chars().next_back().is_some_and(is_word)
            && !code[at + word.len()..].chars().next().is_some_and(is_word)
    };
    code.match_indices(word).map(|(at, _)| at).filter(|at| is_alone(*at)).collect()
}

/// Line number, from 1, of a place.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || path.contains("/tests/")
}

/// `a::b` gives a; `{a::b, c::{d, e}}` gives a and c.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| is_word(*c)).collect::<String>();
    if !rest.starts_with('{') {
        return vec![name(rest)];
    }
    let inside = &rest[1..block_len(rest).max(2) - 1];
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for c in inside.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(c),
        }
    }
    parts.iter().map(|part| name(part)).filter(|part| !part.is_empty()).collect()
}

/// Length of the text from its first brace to the one that closes it.
fn block_len(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 && c == '}' {
            return at + 1;
        }
    }
    text.len()
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// Blanks each item that follows `#[cfg(test)]`.
fn blank_tests(code: &str) -> String {
    let mut kept = code.to_owned();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let rest = &code[at..];
        let end = match rest.find(['{', ';']) {
            Some(open) if rest.as_bytes()[open] == b'{' => open + block_len(&rest[open..]),
            Some(semicolon) => semicolon + 1,
            None => rest.len(),
        };
        kept.replace_range(at..at + end, &blank(&rest[..end]));
    }
    kept
}

/// Blanks comments, strings and character literals; works on ASCII bytes, so that places stay.
fn blank_literals(raw: &str) -> String {
    let ascii: String = raw.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    let mut code = String::with_capacity(ascii.len());
    let mut rest = ascii.as_str();
    while !rest.is_empty() {
        let after_word = code.chars().next_back().is_some_and(is_word);
        let len = literal_len(rest, after_word);
        if len > 0 {
            code.push_str(&blank(&rest[..len]));
        } else {
            code.push_str(&rest[..1]);
        }
        rest = &rest[len.max(1)..];
    }
    code
}

/// Length of the comment or literal that `text` begins with; 0 when it begins with neither.
fn literal_len(text: &str, after_word: bool) -> usize {
    let bytes = text.as_bytes();
    match bytes[0] {
        b'/' if text.starts_with("//") => text.find('\n').unwrap_or(text.len()),
        b'/' if text.starts_with("/*") => text.find("*/").map_or(text.len(), |end| end + 2),
        b'"' => quoted_len(text, b'"'),
        b'r' if !after_word => raw_string_len(text, 1),
        b'b' if !after_word && text.starts_with("br") => raw_string_len(text, 2),
        b'\'' if bytes.get(1) == Some(&b'\\') => quoted_len(text, b'\''),
        b'\'' if bytes.get(2) == Some(&b'\'') => 3,
        _ => 0,
    }
}

fn quoted_len(text: &str, quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() && text.as_bytes()[at] != quote {
        at += if text.as_bytes()[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

fn raw_string_len(text: &str, prefix: usize) -> usize {
    let hashes = text[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let open = prefix + hashes;
    if text.as_bytes().get(open) != Some(&b'"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..].find(&close).map_or(text.len(), |end| open + 1 + end + close.len())
}
