//! "Did you mean": the nearest of some names to a misspelt one.

/// The candidate nearest to `word`, compared without regard to case and with `_` as `-`; none if nothing is near.
///
/// Near is at most one edit for three letters, two up to seven, three beyond.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = crate::normalise_key(word);
    let allowed = match word.chars().count() {
        0..=1 => return None,
        2..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &crate::normalise_key(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_and_nothing_far() {
        let names = ["history.enable", "history.start-time", "tables", "host"];
        assert_eq!(nearest("history.enabel", names), Some("history.enable"));
        assert_eq!(nearest("HISTORY.start_tim", names), Some("history.start-time"));
        assert_eq!(nearest("hots", names), Some("host"));
        assert_eq!(nearest("parallelism", names), None);
        assert_eq!(nearest("x", names), None);
    }
}
