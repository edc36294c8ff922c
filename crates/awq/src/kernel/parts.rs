//! A product with few rows cut into parts of its depth, so that threads have equal shares of any shape and read memory
//! in its own order; then the parts are added, in order.

use std::cell::Cell;
use std::ops::Range;

use super::element::Element;
use super::isa::Isa;
use super::output::Tiles;
use super::packed::{Packed, STRIP_COLUMNS};
use super::parallel::{ParallelFor, Serial};
use super::simd::{Aligned, Operation, Simd, dispatch};

/// Sums of one row in one strip: by nibble, and by word among those.
pub(crate) type Sums = Aligned<STRIP_COLUMNS>;

/// What one task sums: rows of the weight and strips of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    task: usize,
    /// First row of the weight, and the end of them.
    pub(crate) rows: [usize; 2],
    /// First strip, and the end of them.
    pub(crate) strips: [usize; 2],
}

impl Piece {
    /// The rows of the weight.
    pub(crate) fn weight_rows(&self) -> Range<usize> {
        self.rows[0]..self.rows[1]
    }

    /// How many strips.
    pub(crate) fn width(&self) -> usize {
        self.strips[1] - self.strips[0]
    }
}

/// How a product is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Split {
    /// `M`.
    rows: usize,
    in_features: usize,
    strips: usize,
    /// Rows of the weight in a part.
    depth: usize,
    parts: usize,
    /// Strips in a chunk.
    width: usize,
    chunks: usize,
}

/// Weights of so many bytes, or fewer, are small.
const SMALL: usize = 128 << 10;

/// Rows of the weight that parts have a multiple of.
const DEPTH: usize = 32;

/// The most sums in a chunk: two megabytes. Fetching some of them from a third-level cache costs less than leaving the order of
/// memory does.
const CHUNK: usize = 4096;

/// The most sums of all parts: eight megabytes.
const MOST_SUMS: usize = 16384;

/// So many sums are added by the calling thread alone.
const SOON_ADDED: usize = 128;

/// Strips whose parts are added by one task.
const ADDED: usize = 8;

/// Whether a weight is so small that the calling thread multiplies it alone: others would take as long to wake.
pub(crate) fn is_small(packed: &Packed<'_>) -> bool {
    size_of_val(packed.words()) <= SMALL
}

/// How many rows of activations to multiply at a time.
pub(crate) fn most_rows(packed: &Packed<'_>) -> usize {
    (MOST_SUMS / packed.strips()).max(1)
}

impl Split {
    /// Parts follow from the shape alone, because their number shows in the last bits of the sums. Chunks do not show: they are whole rows, since memory is read fastest in its own order,
    /// or as much as has its sums in caches and gives every thread a task.
    pub(crate) fn new(packed: &Packed<'_>, rows: usize, threads: usize) -> Self {
        let (in_features, strips) = (packed.in_features(), packed.strips());
        let small = is_small(packed);
        let parts = match rows * strips {
            _ if small => 1,
            ..=512 => 4,
            sums if sums <= MOST_SUMS / 2 => 2,
            _ => 1,
        };
        let threads = if small { 1 } else { threads.div_ceil(parts) };
        let chunks = (rows * strips).div_ceil(CHUNK).max(threads).min(strips);
        let width = strips.div_ceil(chunks);
        let chunks = strips.div_ceil(width);
        let depth = in_features.div_ceil(parts * DEPTH) * DEPTH;
        Self { rows, in_features, strips, depth, parts: in_features.div_ceil(depth), width, chunks }
    }

    fn tasks(&self) -> usize {
        self.parts * self.chunks
    }

    fn piece(&self, task: usize) -> Piece {
        let (part, chunk) = (task / self.chunks, task % self.chunks);
        let rows = [part * self.depth, self.in_features.min((part + 1) * self.depth)];
        let strips = [chunk * self.width, self.strips.min((chunk + 1) * self.width)];
        Piece { task, rows, strips }
    }

    /// The piece of the next task.
    pub(crate) fn after(&self, piece: Piece) -> Option<Piece> {
        (piece.task + 1 < self.tasks()).then(|| self.piece(piece.task + 1))
    }
}

thread_local! {
    static KEPT: Cell<Vec<Sums>> = const { Cell::new(Vec::new()) };
}

/// `y` from the sums that `task` adds to the zeros it gets: `[strips, M]` for each piece.
pub(crate) fn in_parts<T: Element>(
    packed: &Packed<'_>,
    split: &Split,
    bias: Option<&[f32]>,
    y: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
    task: &(dyn Fn(Piece, &mut [Sums]) + Sync),
) {
    let pool = if split.tasks() == 1 { &Serial } else { pool };
    let mut kept = KEPT.take();
    let of_part = split.rows * split.strips;
    if kept.len() < split.parts * of_part {
        kept.resize(split.parts * of_part, Aligned([0.0; STRIP_COLUMNS]));
    }
    let all = &mut kept[..split.parts * of_part];
    let pieces = Tiles::new(all, of_part, 1, split.rows * split.width);
    pool.run(pieces.len(), &|index| {
        for sums in pieces.take(index) {
            sums.fill(Aligned([0.0; STRIP_COLUMNS]));
            task(split.piece(index), sums);
        }
    });
    drop(pieces);
    let tiles = Tiles::new(y, packed.out_features(), split.rows, ADDED * STRIP_COLUMNS);
    let parts = &kept[..split.parts * of_part];
    // A few sums are added sooner than other threads are met again.
    let pool = if parts.len() <= SOON_ADDED { &Serial } else { pool };
    pool.run(tiles.len(), &|index| {
        let bias = bias.map(|bias| &bias[index * ADDED * STRIP_COLUMNS..]);
        let (first, y) = (index * ADDED, tiles.take(index));
        dispatch(isa, Addition { parts, of_part, first, bias, y });
    });
    KEPT.set(kept);
}

/// Columns of `y` from strip `first` on: the parts, in order, and the bias.
struct Addition<'a, T> {
    parts: &'a [Sums],
    of_part: usize,
    first: usize,
    bias: Option<&'a [f32]>,
    y: Vec<&'a mut [T]>,
}

impl<T: Element> Operation for Addition<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.y.len();
        for (row, y) in self.y.into_iter().enumerate() {
            for (strip, y) in y.chunks_mut(STRIP_COLUMNS).enumerate() {
                let at = (self.first + strip) * rows + row;
                let mut total = self.parts[at];
                for part in self.parts[at..].iter().step_by(self.of_part).skip(1) {
                    for column in (0..STRIP_COLUMNS).step_by(S::LANES) {
                        let sum = simd.add(simd.load(&total.0[column..]), simd.load(&part.0[column..]));
                        simd.store(sum, &mut total.0[column..]);
                    }
                }
                let mut total = simd.by_column(&total);
                if let Some(bias) = self.bias {
                    for (total, bias) in total.0.iter_mut().zip(&bias[strip * STRIP_COLUMNS..]) {
                        *total += bias;
                    }
                }
                T::narrow(simd, &total.0[..y.len()], y);
            }
        }
    }
}
