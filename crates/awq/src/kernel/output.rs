//! An output matrix cut into tiles, one for each task, so that tasks on several threads write without sharing.

use std::sync::{Mutex, PoisonError};

/// The pieces of the rows of one tile, each taken once by the task that fills them.
pub(crate) struct Tiles<'a, T> {
    tiles: Vec<Mutex<Vec<&'a mut [T]>>>,
    across: usize,
}

impl<'a, T> Tiles<'a, T> {
    /// Cuts a row-major matrix with rows of `columns` elements into tiles of `tile_rows x tile_columns`, smaller at
    /// the right and lower edges. All sizes are positive.
    pub(crate) fn new(matrix: &'a mut [T], columns: usize, tile_rows: usize, tile_columns: usize) -> Self {
        let across = columns.div_ceil(tile_columns);
        let down = (matrix.len() / columns).div_ceil(tile_rows);
        let mut tiles: Vec<Vec<&'a mut [T]>> =
            (0..across * down).map(|_| Vec::with_capacity(tile_rows)).collect();
        for (row, elements) in matrix.chunks_exact_mut(columns).enumerate() {
            let first = row / tile_rows * across;
            for (tile, piece) in tiles[first..].iter_mut().zip(elements.chunks_mut(tile_columns)) {
                tile.push(piece);
            }
        }
        Self { tiles: tiles.into_iter().map(Mutex::new).collect(), across }
    }

    /// How many tiles there are.
    pub(crate) fn len(&self) -> usize {
        self.tiles.len()
    }

    /// Which tile, down and across, the task with number `task` fills.
    pub(crate) fn position(&self, task: usize) -> (usize, usize) {
        (task / self.across, task % self.across)
    }

    /// The rows of a tile; empty when taken before.
    pub(crate) fn take(&self, task: usize) -> Vec<&'a mut [T]> {
        std::mem::take(&mut *self.tiles[task].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_in_the_tile_of_its_place() {
        let mut matrix = [0usize; 7 * 10];
        let tiles = Tiles::new(&mut matrix, 10, 3, 4);
        assert_eq!(tiles.len(), 9);
        for task in 0..tiles.len() {
            for row in tiles.take(task) {
                row.fill(task);
            }
            assert!(tiles.take(task).is_empty());
        }
        for (index, tile) in matrix.iter().enumerate() {
            assert_eq!(*tile, index / 10 / 3 * 3 + index % 10 / 4);
        }
    }
}
