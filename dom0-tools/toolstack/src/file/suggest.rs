// SPDX-License-Identifier: MIT OR Apache-2.0
//! "Did you mean": the known word nearest to a misspelt one.

/// The nearest of `known` if it is near enough to be meant: at most a third of
/// the letters differ, where a swap of two neighbours counts once.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().max(3).div_ceil(3);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance, regardless of case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().replace('-', "_").chars().collect();
    let b: Vec<char> = b.to_lowercase().replace('-', "_").chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut best =
                    (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["name", "kernel", "memory", "vcpus", "cpu.weight"];
        assert_eq!(nearest("memroy", known), Some("memory"));
        assert_eq!(nearest("mem", known), None);
        assert_eq!(nearest("vcpu", known), Some("vcpus"));
        assert_eq!(nearest("Kernel", known), Some("kernel"));
        assert_eq!(nearest("cpu.wieght", known), Some("cpu.weight"));
        assert_eq!(nearest("disk", known), None);
        assert_eq!(nearest("", known), None);
    }
}
