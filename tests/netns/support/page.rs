//! Runs the commands of a page of the documentation, and holds what they print against what the page
//! says they do.
//!
//! A comment before a block says what becomes of it: `<!-- run -->` runs its commands, `<!-- run client
//! -->` runs them at a client, `<!-- write PATH -->` writes the block into a file. In a `console` block a line that begins with `# ` is a command, and what
//! follows is what it prints, where `…` stands for anything, alone in a line for any number of lines;
//! in a `sh` block each line is a command.

/// What a marked block asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Where, the line it stands in, the command, and what it prints; none: whatever it prints.
    Run { at_client: bool, line: usize, command: String, prints: Option<Vec<String>> },
    /// A path and the text.
    Write { path: String, text: String },
}

/// The marked blocks of a page, in order.
pub fn steps(page: &str) -> Vec<Step> {
    let mut lines = page.lines().enumerate();
    let mut steps = Vec::new();
    while let Some((_, line)) = lines.next() {
        let Some(mark) = line.strip_prefix("<!-- ").and_then(|mark| mark.strip_suffix(" -->"))
        else {
            continue;
        };
        let (_, fence) = lines.next().unwrap();
        let kind = fence.strip_prefix("```").unwrap_or_else(|| panic!("no block after {line}"));
        let block: Vec<_> = lines.by_ref().take_while(|(_, line)| *line != "```").collect();
        let at_client = mark == "run client";
        match (mark, kind) {
            ("run" | "run client", "console") => steps.extend(session(at_client, &block)),
            ("run" | "run client", "sh") => {
                let step = |&(number, command): &(usize, &str)| Step::Run {
                    at_client,
                    line: number + 1,
                    command: command.into(),
                    prints: None,
                };
                steps.extend(block.iter().map(step));
            }
            _ => {
                let path = mark.strip_prefix("write ");
                let path = path.unwrap_or_else(|| panic!("not known: {line} {fence}")).to_owned();
                let text = block.iter().map(|(_, line)| format!("{line}\n")).collect();
                steps.push(Step::Write { path, text });
            }
        }
    }
    steps
}

fn session(at_client: bool, block: &[(usize, &str)]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (number, line) in block {
        match (line.strip_prefix("# "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step::Run {
                at_client,
                line: number + 1,
                // What the page says about it is a comment for the shell, too.
                command: command.to_owned(),
                prints: Some(Vec::new()),
            }),
            (None, Some(Step::Run { prints: Some(prints), .. })) => prints.push(line.to_string()),
            (None, _) => panic!("line {}: printed by nothing: {line}", number + 1),
        }
    }
    steps
}

/// Is this what the page says is printed? Spaces at the ends of lines do not count.
pub fn is_as_said(printed: &str, said: &[String]) -> bool {
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let said: Vec<&str> = said.iter().map(|line| line.trim_end()).collect();
    matches_lines(&printed, &said)
}

fn matches_lines(printed: &[&str], said: &[&str]) -> bool {
    match said.split_first() {
        None => printed.is_empty(),
        Some((&"…", rest)) => {
            (0..=printed.len()).any(|from| matches_lines(&printed[from..], rest))
        }
        Some((line, rest)) => printed.split_first().is_some_and(|(first, others)| {
            matches_line(first, line) && matches_lines(others, rest)
        }),
    }
}

fn matches_line(printed: &str, said: &str) -> bool {
    match said.split_once('…') {
        None => printed == said,
        Some((before, after)) => printed.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| matches_line(&rest[at..], after))
        }),
    }
}

#[test]
fn pages_are_read_and_compared() {
    let page = "a\n<!-- write /etc/x -->\n```yaml\nk: v\n```\n```console\n# not marked\n```\n\
                <!-- run -->\n```console\n# one\nout … end\n…\n# two  # why\n```\n\
                <!-- run client -->\n```sh\nthree\n```\n";
    let run = |line, command: &str, prints: Option<&[&str]>| Step::Run {
        at_client: prints.is_none(),
        line,
        command: command.to_owned(),
        prints: prints.map(|lines| lines.iter().map(|line| line.to_string()).collect()),
    };
    let write = Step::Write { path: "/etc/x".to_owned(), text: "k: v\n".to_owned() };
    let wanted = [
        write,
        run(11, "one", Some(&["out … end", "…"])),
        run(14, "two  # why", Some(&[])),
        run(18, "three", None),
    ];
    assert_eq!(steps(page), wanted);
    let rows = [
        ("a\nb\n", "a\nb", true),
        ("a  \nb\n", "a\nb", true),
        ("a\nb\n", "a", false),
        ("a\nb\nc\n", "…\nc", true),
        ("a\nb\n", "a\n…", true),
        ("a\n", "a\n…\nb", false),
        ("pid 17, up 3 s\n", "pid …, up … s", true),
        ("pid 17, up 3 m\n", "pid …, up … s", false),
        ("é 1\n", "…1", true),
        ("", "", true),
        ("a\n", "", false),
    ];
    for (printed, said, wanted) in rows {
        let said: Vec<String> = said.lines().map(str::to_owned).collect();
        assert_eq!(is_as_said(printed, &said), wanted, "{printed:?} {said:?}");
    }
}
