//! Documents to rows: packed together, or one a row.

use super::{Document, Sample};
use serde::{Deserialize, Serialize};

/// How documents become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrangement {
    /// Rows of up to the sequence length with several documents each, which do not see each other. A document that is longer
    /// is cut into pieces.
    Packed,
    /// One document a row, cut to the sequence length; a batch is padded to its longest row.
    Padded,
}

/// How many unfinished rows packing keeps open: more give fuller rows, and mix documents from farther apart.
const OPEN_ROWS: usize = 32;

/// Rows of at most `length` tokens, and how many documents were cut.
pub(super) fn arrange(
    documents: &[Document],
    arrangement: Arrangement,
    length: usize,
) -> (Vec<Sample>, usize) {
    let cut = documents.iter().filter(|document| document.tokens.len() > length).count();
    let rows = match arrangement {
        Arrangement::Packed => pack(documents, length),
        Arrangement::Padded => documents.iter().map(|document| first_piece(document, length)).collect(),
    };
    (rows, cut)
}

fn first_piece(document: &Document, length: usize) -> Sample {
    let end = document.tokens.len().min(length);
    let mut row = Sample::empty();
    row.push(&document.tokens[..end], &document.counts[..end]);
    row
}

/// First fit: each piece goes to the oldest open row that has room for it.
fn pack(documents: &[Document], length: usize) -> Vec<Sample> {
    let mut finished = Vec::new();
    let mut open: Vec<Sample> = Vec::new();
    for document in documents {
        for (tokens, counts) in document.tokens.chunks(length).zip(document.counts.chunks(length)) {
            let place = open.iter().position(|row| row.len() + tokens.len() <= length);
            let place = place.unwrap_or_else(|| {
                if open.len() == OPEN_ROWS {
                    finished.push(open.remove(0));
                }
                open.push(Sample::empty());
                open.len() - 1
            });
            open[place].push(tokens, counts);
            if open[place].len() == length {
                finished.push(open.remove(place));
            }
        }
    }
    finished.extend(open);
    finished
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn document() -> impl Strategy<Value = Document> {
        prop::collection::vec((0u32..50, any::<bool>()), 1..40).prop_map(|tokens| {
            let (tokens, counts) = tokens.into_iter().unzip();
            Document { tokens, counts }
        })
    }

    proptest! {
        #[test]
        fn packing_loses_no_token_and_keeps_documents_apart(
            documents in prop::collection::vec(document(), 1..80),
            length in 2usize..32,
        ) {
            let rows = pack(&documents, length);
            let mut pieces: Vec<(Vec<u32>, Vec<bool>)> = Vec::new();
            for row in &rows {
                prop_assert!(row.len() <= length);
                let mut start = 0;
                for end in 1..=row.len() {
                    if end == row.len() || row.segments[end] != row.segments[start] {
                        pieces.push((row.tokens[start..end].to_vec(), row.counts[start..end].to_vec()));
                        start = end;
                    }
                }
            }
            let mut expected: Vec<(Vec<u32>, Vec<bool>)> = documents
                .iter()
                .flat_map(|d| d.tokens.chunks(length).zip(d.counts.chunks(length)))
                .map(|(tokens, counts)| (tokens.to_vec(), counts.to_vec()))
                .collect();
            pieces.sort();
            expected.sort();
            prop_assert_eq!(pieces, expected);
        }

        #[test]
        fn no_target_crosses_into_another_document(
            documents in prop::collection::vec(document(), 1..30),
            length in 2usize..32,
        ) {
            for row in pack(&documents, length) {
                for (position, target) in row.targets().into_iter().enumerate() {
                    if target != super::super::IGNORED {
                        prop_assert_eq!(row.segments[position], row.segments[position + 1]);
                        prop_assert!(row.counts[position + 1]);
                        prop_assert_eq!(target, i64::from(row.tokens[position + 1]));
                    }
                }
            }
        }

        #[test]
        fn padded_rows_are_the_documents_beginnings(
            documents in prop::collection::vec(document(), 1..30),
            length in 2usize..32,
        ) {
            let (rows, cut) = arrange(&documents, Arrangement::Padded, length);
            for (row, document) in rows.iter().zip(&documents) {
                prop_assert_eq!(row.tokens(), &document.tokens[..document.tokens.len().min(length)]);
                prop_assert!(row.segments().iter().all(|segment| *segment == 1));
            }
            prop_assert_eq!(rows.len(), documents.len());
            prop_assert_eq!(cut, documents.iter().filter(|d| d.tokens.len() > length).count());
        }
    }
}
