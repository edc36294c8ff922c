//! Panels of a full strip of the weight, run by run.

use std::ops::Range;

use super::turned::TurnedStrip;
use crate::kernel::ahead::{Down, Fetch, Nothing};
use crate::kernel::packed::{Major, Packed, STRIP_COLUMNS, Strip};
use crate::kernel::panel::{PANEL, Unpack};
use crate::kernel::simd::{Aligned, Arithmetic, Rows, Simd};
use crate::kernel::weigh::{Rounded, Split};

/// The most weight rows that are unpacked to one panel after the other.
pub(super) const RUN: usize = 32;

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
    let mut turned = TurnedStrip::new();
    let first = rows.start;
    for segment in packed.segments(rows, packed.run(RUN)) {
        if segment.begins {
            scales = simd.by_nibble(&packed.scale_strip(simd, segment.group, strip));
            factor = packed.split_factor_of_strip(segment.group, strip);
        }
        let words = match packed.major() {
            Major::Row => Rows::new(packed.rows(segment), packed.row_words()).strip(strip.word),
            // The next run lies behind this one.
            Major::Column => turned.strip(simd, packed, segment, strip, segment.count),
        };
        let run = Unpack {
            words,
            zeros: &packed.zeros(segment.group)[strip.word..],
            scales: &scales,
            step: (segment.first - first) / A::TERMS,
        };
        match packed.major() {
            Major::Row => {
                let mut ahead = Down::new(packed, strip, segment);
                weigh(arithmetic, &run, factor, packed, &mut ahead, panels);
            }
            Major::Column => weigh(arithmetic, &run, factor, packed, &mut Nothing, panels),
        }
    }
}

/// Unpacks a run, rounded as its scales ask for.
#[inline(always)]
fn weigh<A: Arithmetic>(
    arithmetic: A,
    run: &Unpack<'_>,
    factor: Option<f32>,
    packed: &Packed<'_>,
    ahead: &mut impl Fetch,
    panels: &mut [Aligned<PANEL>],
) {
    match factor {
        Some(factor) => run.run(arithmetic, Split { factor }, ahead, panels),
        None => run.run(arithmetic, Rounded(packed.rounding()), ahead, panels),
    }
}
