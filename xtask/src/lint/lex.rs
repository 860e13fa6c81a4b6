// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rust source with comments and literals blanked out, so that the rules of
//! `lint` look at code only. Lines and columns stay where they are.

/// Replaces every byte of comments, strings and characters by a space.
pub fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let mut i = 0;
    while i < bytes.len() {
        let end = match at(i) {
            b'/' if at(i + 1) == b'/' => line_end(bytes, i),
            b'/' if at(i + 1) == b'*' => comment_end(bytes, i),
            b'"' => string_end(bytes, i + 1),
            b'r' if !word(at(i.wrapping_sub(1))) || at(i.wrapping_sub(1)) == b'b' => {
                raw_end(bytes, i).unwrap_or(i + 1)
            }
            b'\'' => char_end(bytes, i).unwrap_or(i + 1),
            _ => i + 1,
        };
        if end == i + 1 {
            out.push(at(i));
        } else {
            let blank = bytes.get(i..end).unwrap_or_default().iter();
            out.extend(blank.map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
        }
        i = end.max(i + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    bytes.iter().skip(from).position(|b| *b == b'\n').map_or(bytes.len(), |n| from + n)
}

fn comment_end(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0;
    let mut i = from;
    while i < bytes.len() {
        match bytes.get(i..i + 2) {
            Some(b"/*") => (depth, i) = (depth + 1, i + 2),
            Some(b"*/") => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut i: usize) -> usize {
    while let Some(b) = bytes.get(i) {
        match b {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    bytes.len()
}

/// The end of a raw string that begins with the `r` at `from`.
fn raw_end(bytes: &[u8], from: usize) -> Option<usize> {
    let hashes = bytes.iter().skip(from + 1).take_while(|b| **b == b'#').count();
    let open = from + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = bytes.get(open + 1..)?;
    let found = body.windows(close.len()).position(|w| w == close);
    Some(found.map_or(bytes.len(), |n| open + 1 + n + close.len()))
}

/// The end of a character literal; `None` for a lifetime.
fn char_end(bytes: &[u8], from: usize) -> Option<usize> {
    match bytes.get(from + 1)? {
        b'\\' => {
            let rest = bytes.get(from + 3..)?;
            rest.iter().position(|b| *b == b'\'').map(|n| from + 3 + n + 1)
        }
        _ => {
            // One character, perhaps of several bytes, then the quote.
            let rest = bytes.get(from + 2..from + 6.min(bytes.len() - from))?;
            let quote = rest.iter().position(|b| *b == b'\'')?;
            let multi = quote == 0 || bytes.get(from + 1).is_some_and(|b| *b >= 0x80);
            multi.then_some(from + 2 + quote + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_remains() {
        let words = |s: &str| code_only(s).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words("a // unsafe\nb"), "a b");
        assert_eq!(words("a /* x /* y */ unsafe */ b"), "a b");
        assert_eq!(words(r#"f("unsafe \" x", 'u', '\'', '"') g"#), "f( , , , ) g");
        assert_eq!(words("r#\"unsafe \"x\" \"# + bar"), "+ bar");
        assert_eq!(words("fn f<'a>(x: &'a u8) {}"), "fn f<'a>(x: &'a u8) {}");
        assert_eq!(words("'é' x"), "x");
    }

    #[test]
    fn lines_stay() {
        let source = "a\n/* b\nc */ d\n\"e\nf\" g\n";
        assert_eq!(code_only(source).lines().count(), source.lines().count());
    }
}
