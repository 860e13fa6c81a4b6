// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules for Rust files: where `unsafe` may be, what the core's logic must
//! not contain, and how long a file may be.

use super::lex::code_only;

/// The rooms that may hold `unsafe` (style rule `one-unsafe-room`).
const UNSAFE_ROOMS: &[&str] =
    &["hv-core/hal/", "hv-core/image/", "dom0-tools/client/", "tests/guest-lib/", "tests/guests/"];
/// The room a guest can drive: nothing in it may panic.
const NO_PANIC: &str = "hv-core/kernel/src/";
/// Longest file that needs no reason.
const LONGEST: usize = 400;

const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];
const PANICS: &[&str] = &["panic!", "unreachable!", ".unwrap()", ".expect("];

/// What a file contributes to the count of unsafe lines.
#[derive(Default, Clone, Copy)]
pub struct Share {
    /// Lines of code, without comments and empty lines.
    pub code: usize,
    /// Those inside an unsafe block, function or impl.
    pub inside: usize,
}

/// Checks one file; complaints are "LINE: text".
pub fn check(path: &str, source: &str) -> (Vec<String>, Share) {
    let mut out = Vec::new();
    let code = code_only(source);
    let in_room = UNSAFE_ROOMS.iter().any(|room| path.starts_with(room));
    let tests_from = tests_start(&code);
    let mut complain = |n: usize, text: &str| out.push(format!("{}: {text}", n + 1));
    for (n, line) in code.lines().enumerate() {
        if !in_room && has_word(line, "unsafe") {
            complain(n, "`unsafe` outside the rooms for it");
        }
        for word in UNFINISHED.iter().filter(|w| has_start(line, w)) {
            complain(n, &format!("unfinished: {word}"));
        }
        let logic = path.starts_with(NO_PANIC) && n < tests_from && !is_test_file(path);
        if logic {
            for word in PANICS.iter().filter(|w| has_start(line, w)) {
                complain(n, &format!("a guest must not reach a panic: {word}"));
            }
        }
    }
    let lines = source.lines().count();
    if lines > LONGEST && !source.lines().take(40).any(|l| l.contains("Length:")) {
        complain(
            0,
            &format!("{lines} lines; over {LONGEST} wants a `//! Length:` line saying why"),
        );
    }
    (out, share(&code))
}

/// A file that is only compiled for tests.
fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/") || path.contains("/testing")
}

/// The first line of the trailing test module.
fn tests_start(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let marks = lines.windows(2).position(|w| {
        w.iter().any(|l| l.trim() == "#[cfg(test)]") && w.iter().any(|l| l.contains("mod tests {"))
    });
    marks.unwrap_or(usize::MAX)
}

fn share(code: &str) -> Share {
    let mut share = Share::default();
    // Depth of braces, and the depth at which each open unsafe region began.
    let (mut depth, mut region): (i32, Option<i32>) = (0, None);
    for line in code.lines().filter(|l| !l.trim().is_empty()) {
        share.code += 1;
        let starts = has_word(line, "unsafe") && !line.contains("unsafe(");
        if region.is_none() && starts {
            region = Some(depth);
        }
        if region.is_some() {
            share.inside += 1;
        }
        let mut opened = false;
        for c in line.chars() {
            match c {
                '{' => (depth, opened) = (depth + 1, true),
                '}' => depth -= 1,
                _ => {}
            }
        }
        let ends = opened || line.contains('}') || line.trim_end().ends_with(';');
        if region.is_some_and(|at| depth <= at) && ends {
            region = None;
        }
    }
    share
}

fn has_word(line: &str, word: &str) -> bool {
    let boundary = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line.get(..at), line.get(at + word.len()..));
        boundary(before.and_then(|s| s.chars().next_back()))
            && boundary(after.and_then(|s| s.chars().next()))
    })
}

/// Like `contains`, but not in the middle of a longer name.
fn has_start(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|s| s.chars().next_back());
        word.starts_with('.') || !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_has_its_rooms() {
        let source = "#![deny(unsafe_code)]\nfn f() { unsafe { g() } }\n";
        assert_eq!(check("hv-core/kernel/src/a.rs", source).0.len(), 1);
        assert!(check("hv-core/hal/src/a.rs", source).0.is_empty());
    }

    #[test]
    fn logic_does_not_panic_but_tests_may() {
        let source = "fn f() { x.unwrap(); x.unwrap_or(1); }\n#[cfg(test)]\nmod tests {\n\
                      fn g() { x.unwrap() }\n}\n";
        let (complaints, _) = check("hv-core/kernel/src/a.rs", source);
        assert_eq!(complaints, ["1: a guest must not reach a panic: .unwrap()"]);
        assert!(check("dom0-tools/hvd/src/a.rs", source).0.is_empty());
    }

    #[test]
    fn long_files_give_a_reason() {
        let long = "fn f() {}\n".repeat(401);
        assert_eq!(check("a.rs", &long).0.len(), 1);
        let reason = format!("//! Length: one table.\n{long}");
        assert!(check("a.rs", &reason).0.is_empty());
    }

    #[test]
    fn unsafe_lines_are_counted() {
        let source = "fn a() {\n    unsafe {\n        b();\n    }\n    c();\n}\n";
        let share = check("hv-core/hal/a.rs", source).1;
        assert_eq!((share.code, share.inside), (6, 3));
    }
}
