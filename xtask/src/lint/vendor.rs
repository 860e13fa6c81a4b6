// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's logic names no vendor (style rule `twin-vendors-one-door`): not
//! in code, not in a text, not in a comment. What differs between vendors is
//! the hal's, and comes through its door in neutral words.

/// The room that knows no vendor.
const NEUTRAL: &str = "hv-core/kernel/";
/// Words that belong to one vendor, as whole words or parts of a name.
const WORDS: &[&str] = &[
    "amd", "amdv", "apicv", "asid", "avic", "ept", "gif", "intel", "invept", "invlpga", "invvpid",
    "npt", "svm", "vmcall", "vmcb", "vmcs", "vmentry", "vmexit", "vmlaunch", "vmload", "vmmcall",
    "vmptrld", "vmread", "vmresume", "vmrun", "vmsave", "vmwrite", "vmx", "vmxon", "vpid", "vtx",
];
/// The same, of more than one word.
const PHRASES: &[&str] = &["amd-v", "vt-x", "vt-d"];

/// Checks one file; complaints are "LINE: text".
pub fn check(path: &str, source: &str) -> Vec<String> {
    if !path.starts_with(NEUTRAL) {
        return Vec::new();
    }
    let lines = source.lines().enumerate();
    lines.filter_map(|(n, line)| Some((n, find(line)?))).map(complaint).collect()
}

fn complaint((n, word): (usize, &str)) -> String {
    format!("{}: a vendor's word in the core's logic: {word}", n + 1)
}

/// The first such word of a line.
fn find(line: &str) -> Option<&'static str> {
    let lower = line.to_lowercase();
    let phrase = PHRASES.iter().copied().find(|p| lower.contains(p));
    phrase.or_else(|| words(line).into_iter().find_map(|w| WORDS.iter().copied().find(|v| *v == w)))
}

/// The words of a line in lower case: names in snake and camel case are taken
/// apart, and so are `NAME2` and `NAMES`' plural.
fn words(line: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut before = ' ';
    for c in line.chars() {
        let hump = c.is_uppercase() && before.is_lowercase();
        if (hump || !c.is_ascii_alphabetic()) && !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
        if c.is_ascii_alphabetic() {
            word.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    out.push(word);
    // A plural is the word as well.
    let singular = out.iter().filter_map(|w| w.strip_suffix('s')).map(str::to_owned);
    let singular: Vec<String> = singular.collect();
    out.extend(singular);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_words_are_found_in_any_form() {
        let path = "hv-core/kernel/src/a.rs";
        for line in [
            "use hv_hal::exit::Vendor::Vmx;",
            "const AMD_HWCR: u32 = 0;",
            "struct SvmVcpu;",
            "// as VMCSs have it",
            "\"VT-x is off\"",
            "fn flush_ept() {}",
        ] {
            assert_eq!(check(path, line).len(), 1, "{line}");
        }
        for line in
            ["accept(except, vendor)", "x2apic, SDM Vol. 3", "gifts", "let intelligent = 1;"]
        {
            assert!(check(path, line).is_empty(), "{line}");
        }
        assert!(check("hv-core/hal/src/a.rs", "AMD").is_empty());
    }
}
