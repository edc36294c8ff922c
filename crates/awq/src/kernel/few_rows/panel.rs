//! More rows of activations than registers hold sums of: a strip of a run is unpacked once, and multiplied tile by tile.

use super::forward::RunTask;
use super::run::RUN;
use crate::kernel::packed::STRIP_WORDS;
use crate::kernel::panel::{PANEL, Sweep, Unpack};
use crate::kernel::simd::{Aligned, Arithmetic, Operation, Simd, Single};
use crate::kernel::strips::Strips;
use crate::kernel::weigh::Weigh;

/// A run in all strips.
pub(super) struct Paneled<'a, W> {
    pub(super) run: RunTask<'a, W>,
    /// `PANELS` of `RUN` rows, 32 KiB: they stay in a first-level cache.
    pub(super) panels: &'a mut [Aligned<PANEL>],
}

impl<W: Weigh> Operation for Paneled<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let arithmetic = Single(simd);
        let RunTask { weigh, segment, strips, scales, left, rows, sums, mut ahead, .. } = self.run;
        let mut of_strips = sums.chunks_exact_mut(rows).zip(scales);
        for Strips { rows: words, zeros, words: [start, end] } in strips {
            for (word, (sums, scales)) in (start..end).step_by(STRIP_WORDS).zip(of_strips.by_ref()) {
                let unpack = Unpack { words: words.strip(word), zeros: &zeros[word..], scales, step: 0 };
                unpack.run(arithmetic, weigh, &mut ahead, self.panels);
                ahead.turn(simd, segment.count);
                for (index, panel) in self.panels.chunks_exact(RUN).enumerate() {
                    let panel = &panel[..segment.count];
                    arithmetic.vectorize(Sweep { a: left, panel, column: index * PANEL, c: sums });
                }
            }
        }
    }
}
