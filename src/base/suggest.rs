//! "Did you mean …": the closest of the allowed words.

/// The candidate closest to `word`, when it is close enough to be a slip of the finger: edit
/// distance (insert, delete, replace, swap of neighbours; case ignored) of at most a third of the
/// word's length, at least 1.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_found() {
        let fields = ["maximumRequests", "timePeriodInMilliseconds"];
        assert_eq!(closest("maximumRequest", fields), Some("maximumRequests"));
        assert_eq!(closest("MaximunRequests", fields), Some("maximumRequests"));
        assert_eq!(closest("teh", ["the", "tea"]), Some("the"));
    }

    #[test]
    fn an_unrelated_word_has_no_suggestion() {
        assert_eq!(closest("banana", ["maximumRequests", "key"]), None);
    }
}
