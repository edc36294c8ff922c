//! `y [M, O] = x [M, I] * W [I, O]` in f32: a task owns some columns of words, and sums each of them from its first row to its
//! last.

use std::cell::Cell;
use std::ops::Range;

use super::columns::{Left, Stretch, Tile, clear, row_of};
use super::group::Group;
use super::{passes, stretch, strips, width, write};
use crate::kernel::element::Element;
use crate::kernel::isa::Isa;
use crate::kernel::output::Tiles;
use crate::kernel::packed::{BLOCK_ROWS, Packed, Segment, Strip, WORD_COLUMNS};
use crate::kernel::parallel::{ParallelFor, Serial};
use crate::kernel::simd::{Aligned, Operation, Simd, dispatch};
use crate::kernel::weigh::{Rounded, Split, Weigh};

/// Right for any sizes above zero.
pub(crate) fn forward<T: Element>(
    x: &[T],
    packed: &Packed<'_>,
    bias: Option<&[f32]>,
    y: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    let rows = y.len() / packed.out_features();
    let width = width(packed, pool.threads());
    let tiles = Tiles::new(y, packed.out_features(), rows, width * WORD_COLUMNS);
    let pool = if tiles.len() == 1 { &Serial } else { pool };
    pool.run(tiles.len(), &|task| {
        dispatch(isa, ColumnsTask { x, packed, bias, first: task * width, y: tiles.take(task) });
    });
}

/// Columns of words from `first` on.
struct ColumnsTask<'a, T> {
    x: &'a [T],
    packed: &'a Packed<'a>,
    bias: Option<&'a [f32]>,
    first: usize,
    y: Vec<&'a mut [T]>,
}

/// What a task needs beside its operands, kept from task to task.
#[derive(Default)]
struct Workspace {
    left: Vec<Left>,
    groups: Vec<Group>,
    /// Of each pass.
    sums: Vec<Vec<Tile>>,
}

thread_local! {
    static KEPT: Cell<Option<Box<Workspace>>> = const { Cell::new(None) };
}

impl<T: Element> Operation for ColumnsTask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, packed, bias, first, mut y } = self;
        let (inner, rows) = (packed.in_features(), y.len());
        let blocks = inner / BLOCK_ROWS;
        let words = y.first().map_or(0, |row| row.len()) / WORD_COLUMNS;
        let mut workspace = KEPT.take().unwrap_or_default();
        let Workspace { left, groups, sums } = &mut *workspace;
        left.resize(x.len() / BLOCK_ROWS, Aligned([0.0; BLOCK_ROWS]));
        for [start, count] in passes(rows) {
            for row in start..start + count {
                let to = left[start * blocks..].iter_mut().skip(row - start).step_by(count);
                for (x, to) in x[row * inner..][..inner].as_chunks::<BLOCK_ROWS>().0.iter().zip(to) {
                    T::widen(simd, x, &mut to.0);
                }
            }
        }
        sums.resize_with(passes(rows).count(), Vec::new);
        let longest = stretch(inner, rows, S::LANES);
        for strip in strips(first, words) {
            for (sums, [_, count]) in sums.iter_mut().zip(passes(rows)) {
                clear(sums, count);
            }
            for start in (0..inner).step_by(longest) {
                let range = start..inner.min(start + longest);
                Part { packed, strip, rows: range, left, total: rows }.add(simd, groups, sums);
            }
            for (sums, [start, count]) in sums.iter().zip(passes(rows)) {
                for (row, y) in y[start..start + count].iter_mut().enumerate() {
                    write(simd, row_of(sums, count, row), bias, strip, strip.word - first, y);
                }
            }
        }
        KEPT.set(Some(workspace));
    }
}

/// A strip of some rows of the weight, and all activations.
struct Part<'a> {
    packed: &'a Packed<'a>,
    strip: Strip,
    rows: Range<usize>,
    left: &'a [Left],
    total: usize,
}

impl Part<'_> {
    /// The parts of the groups.
    fn segments(&self) -> impl Iterator<Item = Segment> + use<> {
        self.packed.segments(self.rows.clone(), self.rows.len())
    }

    /// Adds its products to the sums of all passes.
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, groups: &mut Vec<Group>, sums: &mut [Vec<Tile>]) {
        let factor = |segment: Segment| self.packed.split_factor_of_strip(segment.group, self.strip);
        let mut factors = self.segments().map(factor);
        match factors.next().flatten() {
            Some(factor) if factors.all(|factor| factor.is_some()) => {
                self.weighed(simd, Split { factor }, groups, sums);
            }
            _ => {
                let weigh = Rounded(self.packed.rounding());
                self.weighed(simd, weigh, groups, sums);
            }
        }
    }

    #[inline(always)]
    fn weighed<S: Simd, W: Weigh>(self, simd: S, weigh: W, groups: &mut Vec<Group>, sums: &mut [Vec<Tile>]) {
        groups.resize_with(self.segments().count(), Group::new);
        for (segment, group) in self.segments().zip(&mut *groups) {
            group.read(simd, weigh, self.packed, segment, self.strip);
            self.packed.prefetch_group(simd, segment.group, self.strip.next());
        }
        let Self { packed, strip, rows, left, total } = self;
        let blocks = packed.in_features() / BLOCK_ROWS;
        for (sums, [start, count]) in sums.iter_mut().zip(passes(total)) {
            let left = &left[start * blocks..(start + count) * blocks];
            let stretch = Stretch { weigh, packed, strip, rows: rows.clone(), left, groups, sums };
            stretch.add(simd, count);
        }
    }
}
