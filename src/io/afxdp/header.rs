//! Reads the C headers in `bpf/`, for tests that compare them with Rust.

/// The number that `name` is defined as.
pub fn defined(header: &str, name: &str) -> u32 {
    let line = header.lines().find_map(|line| line.strip_prefix(&format!("#define {name} ")));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect(name)
}

/// The names of `enum PROGRAM_counter`, in order, in lower case and without the program's name.
pub fn counters(header: &str, program: &str) -> Vec<String> {
    let prefix = format!("{}_", program.to_uppercase());
    let (_, names) = header.split_once(&format!("enum {program}_counter {{")).unwrap();
    let (names, _) = names.split_once(&format!("{prefix}COUNTERS")).unwrap();
    let names =
        names.lines().filter_map(|line| line.trim().strip_prefix(&prefix)?.split(',').next());
    names.map(str::to_lowercase).collect()
}
