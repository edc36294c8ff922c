//! The whole weight, for those who must have it dense: merging, export, tests.

use super::element::Element;
use super::isa::Isa;
use super::many_rows::transposed_panel;
use super::output::Tiles;
use super::packed::{Packed, STRIP_COLUMNS, Strip};
use super::panel::PANEL;
use super::parallel::ParallelFor;
use super::simd::{Aligned, Operation, Simd, Single, dispatch};
use super::weights::Tables;

/// Writes `out [O, I]`, row-major, the layout of a dense linear's weight: `out[o, i] = W[i, o]`.
///
/// Exact where `T` is f32 or the scales' dtype; elsewhere with one more rounding, to `T`. Writes as much of the weight
/// as `out` has whole rows for.
pub(crate) fn dequantize<T: Element>(packed: &Packed<'_>, out: &mut [T], pool: &dyn ParallelFor, isa: Isa) {
    if packed.in_features() == 0 || packed.out_features() == 0 {
        return;
    }
    let whole = packed.in_features().saturating_mul(packed.out_features()).min(out.len());
    let tiles = Tiles::new(&mut out[..whole], packed.in_features(), STRIP_COLUMNS, packed.in_features());
    pool.run(tiles.len(), &|task| {
        dispatch(isa, StripTask { packed, strip: packed.strip(task), out: tiles.take(task) });
    });
}

struct StripTask<'a, T> {
    packed: &'a Packed<'a>,
    strip: Strip,
    out: Vec<&'a mut [T]>,
}

impl<T: Element> Operation for StripTask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let in_features = self.packed.in_features();
        let mut tables = Tables::new();
        let mut panel = [Aligned([0.0; PANEL]); STRIP_COLUMNS];
        for first in (0..in_features).step_by(PANEL) {
            let end = in_features.min(first + PANEL);
            transposed_panel(Single(simd), self.packed, self.strip, first..end, 0, &mut tables, &mut panel);
            for (from, to) in panel.iter().zip(&mut self.out) {
                T::narrow(simd, &from.0[..end - first], &mut to[first..end]);
            }
        }
    }
}
