//! Panels of a full strip of the weight, run by run.

use std::ops::Range;

use crate::kernel::ahead::Down;
use crate::kernel::packed::{Packed, STRIP_COLUMNS, Strip};
use crate::kernel::panel::{PANEL, Unpack};
use crate::kernel::simd::{Aligned, Arithmetic, Rows, Simd};
use crate::kernel::weigh::{Rounded, Split};

/// The most weight rows that are unpacked to one panel after the other.
const RUN: usize = 32;

/// Unpacks `rows` of the weight in a strip, from the first step of the panels on.
#[inline(always)]
pub(super) fn unpack<A: Arithmetic>(
    arithmetic: A,
    packed: &Packed<'_>,
    strip: Strip,
    rows: Range<usize>,
    panels: &mut [Aligned<PANEL>],
) {
    let simd = arithmetic.simd();
    let mut scales = Aligned([0.0; STRIP_COLUMNS]);
    let mut factor = None;
    let first = rows.start;
    for segment in packed.segments(rows, packed.run(RUN)) {
        if segment.begins {
            scales = simd.by_nibble(&packed.scale_strip(simd, segment.group, strip));
            factor = packed.split_factor_of_strip(segment.group, strip);
        }
        let run = Unpack {
            words: Rows::new(packed.rows(segment), packed.row_words()).strip(strip.word),
            zeros: &packed.zeros(segment.group)[strip.word..],
            scales: &scales,
            step: (segment.first - first) / A::TERMS,
        };
        let mut ahead = Down::new(packed, strip, segment);
        match factor {
            Some(factor) => run.run(arithmetic, Split { factor }, &mut ahead, panels),
            None => run.run(arithmetic, Rounded(packed.rounding()), &mut ahead, panels),
        }
    }
}
