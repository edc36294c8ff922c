//! Texts side by side.

/// Between two columns.
const GAP: &str = " | ";
/// A column narrower than this is hard to read.
const NARROWEST: usize = 28;

/// `texts` under their titles in columns over `width` characters; nothing where that is too narrow.
pub(crate) fn side_by_side(titles: &[String], texts: &[String], width: usize) -> Option<String> {
    let count = texts.len();
    let column = width.checked_sub(GAP.len() * count.saturating_sub(1))? / count.max(1);
    if column < NARROWEST {
        return None;
    }
    let columns: Vec<Vec<String>> = titles
        .iter()
        .zip(texts)
        .map(|(title, text)| {
            let head = wrapped(title, column).into_iter().chain([String::from("-").repeat(column)]);
            head.chain(wrapped(text, column)).collect()
        })
        .collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    let mut page = String::new();
    for row in 0..height {
        let cells = columns.iter().map(|lines| lines.get(row).map_or("", String::as_str));
        let cells: Vec<String> = cells.map(|cell| format!("{cell:<column$}")).collect();
        page.push_str(cells.join(GAP).trim_end());
        page.push('\n');
    }
    Some(page)
}

/// The lines of `text`, broken between words, and inside of those that are longer than a line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    text.lines().flat_map(|line| wrapped_line(line, width)).collect()
}

fn wrapped_line(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in line.replace('\t', "    ").split_inclusive(' ') {
        let mut letters: Vec<char> = word.chars().collect();
        let visible = word.trim_end().chars().count();
        if length > 0 && length + visible > width {
            lines.push(String::new());
            length = 0;
        }
        while letters.len() > width {
            let rest = letters.split_off(width);
            lines.last_mut().expect("there is one line from the start").extend(letters);
            lines.push(String::new());
            letters = rest;
        }
        length += letters.len();
        lines.last_mut().expect("there is one line from the start").extend(letters);
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_long_words_inside() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("a\n\nb", 4), ["a", "", "b"]);
        assert!(wrapped("the quick brown fox", 5).iter().all(|line| line.chars().count() <= 5));
    }

    #[test]
    fn columns_need_room() {
        let (titles, texts) = (["base", "adapter"].map(str::to_owned), ["left", "right"].map(str::to_owned));
        assert_eq!(side_by_side(&titles, &texts, 40), None);
        let page = side_by_side(&titles, &texts, 59).expect("twice 28 and a gap");
        assert_eq!(page.lines().next(), Some(format!("{:<28} | adapter", "base").as_str()));
        assert_eq!(page.lines().last(), Some(format!("{:<28} | right", "left").as_str()));
    }
}
