//! The laws of the kernels, for every instruction set of the CPU: weights exact to the bit, products within the bound
//! of their arithmetic, the same bits from any number of threads.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    clippy::unwrap_used,
    reason = "small numbers, and exact ones"
)]

use std::fmt::Debug;

use half::{bf16, f16};
use proptest::prelude::*;

use super::dequantize::dequantize;
use super::packed::{BLOCK_ROWS, COLUMN_SHIFT, NIBBLE_COLUMN, PackedError, WORD_COLUMNS};
use super::parallel::{Serial, Threads};
use super::*;

/// A dtype as the laws see it.
trait Number: Element + Debug + PartialEq {
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    /// What a term may lose besides, by a weight rounded to the dtype: only bf16 is multiplied so.
    const TERM_ERROR: f64;
    /// Half the spacing of numbers near `x`.
    fn half_spacing(x: f64) -> f64;
    fn bits(self) -> u32;
}

macro_rules! number {
    ($type:ty, $digits:expr, $smallest:expr, $term_error:expr, $from:expr, $to:expr) => {
        impl Number for $type {
            const TERM_ERROR: f64 = $term_error;
            fn from_f64(x: f64) -> Self {
                $from(x)
            }
            fn to_f64(self) -> f64 {
                $to(self)
            }
            fn half_spacing(x: f64) -> f64 {
                (x.abs() * 2f64.powi(-$digits)).max(2f64.powi($smallest - 1))
            }
            fn bits(self) -> u32 {
                self.to_bits().into()
            }
        }
    };
}
number!(f32, 24, -149, 0.0, |x| x as f32, f64::from);
number!(bf16, 8, -133, 1.0 / 256.0, bf16::from_f64, bf16::to_f64);
number!(f16, 11, -24, 0.0, f16::from_f64, f16::to_f64);

/// Scales with an owner.
#[derive(Debug, Clone)]
enum OwnedScales {
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    F32(Vec<f32>),
}

/// A packed weight, and the plain codes it was packed from.
#[derive(Debug, Clone)]
struct Layer {
    qweight: Vec<i32>,
    qzeros: Vec<i32>,
    scales: OwnedScales,
    codes: Vec<u8>,
    zeros: Vec<u8>,
    in_features: usize,
    out_features: usize,
    group_size: usize,
}

/// Packs rows of codes, by the definition of the format.
fn pack(codes: &[u8]) -> Vec<i32> {
    let word = |columns: &[u8]| {
        (0..8).fold(0u32, |word, nibble| word | u32::from(columns[NIBBLE_COLUMN[nibble]]) << (4 * nibble))
    };
    codes.chunks_exact(WORD_COLUMNS).map(|columns| word(columns).cast_signed()).collect()
}

impl Layer {
    fn new(codes: Vec<u8>, zeros: Vec<u8>, scales: OwnedScales, shape: [usize; 3]) -> Self {
        let [in_features, out_features, group_size] = shape;
        let (qweight, qzeros) = (pack(&codes), pack(&zeros));
        Self { qweight, qzeros, scales, codes, zeros, in_features, out_features, group_size }
    }

    /// Random codes; scales like those of real weights.
    fn random(shape: [usize; 3], dtype: usize, random: &mut Random) -> Self {
        let [in_features, out_features, group_size] = shape;
        let groups = in_features / group_size;
        let codes = (0..in_features * out_features).map(|_| random.below(16) as u8).collect();
        let zeros = (0..groups * out_features).map(|_| random.below(16) as u8).collect();
        let scales = (0..groups * out_features).map(|_| random.uniform() * 0.02);
        let scales = match dtype {
            0 => OwnedScales::F16(scales.map(f16::from_f64).collect()),
            1 => OwnedScales::Bf16(scales.map(bf16::from_f64).collect()),
            _ => OwnedScales::F32(scales.map(|x| x as f32).collect()),
        };
        Self::new(codes, zeros, scales, shape)
    }

    fn packed(&self) -> Packed<'_> {
        let scales = match &self.scales {
            OwnedScales::F16(scales) => Scales::F16(scales),
            OwnedScales::Bf16(scales) => Scales::Bf16(scales),
            OwnedScales::F32(scales) => Scales::F32(scales),
        };
        let (i, o, g) = (self.in_features, self.out_features, self.group_size);
        Packed::new((&self.qweight, Major::Row), &self.qzeros, scales, i, o, g).unwrap()
    }

    /// The words column by column, if the shape allows it.
    fn turned(&self) -> Option<Vec<i32>> {
        let words = self.out_features / WORD_COLUMNS;
        let turned = |index: usize| self.qweight[index % self.in_features * words + index / self.in_features];
        (self.group_size.is_multiple_of(BLOCK_ROWS)).then(|| (0..self.qweight.len()).map(turned).collect())
    }

    /// The same weight in each order of its words that it can have, for which `body` is to hold.
    fn in_each_order(&self, mut body: impl FnMut(&Packed<'_>)) {
        let packed = self.packed();
        body(&packed);
        if let Some(turned) = self.turned() {
            body(&packed.with_words((&turned, Major::Column)).unwrap());
        }
    }

    /// `W[i, o]` by its definition, in f64 with one rounding.
    fn weight(&self, i: usize, o: usize) -> f64 {
        let at = i / self.group_size * self.out_features + o;
        let difference = f64::from(self.codes[i * self.out_features + o]) - f64::from(self.zeros[at]);
        match &self.scales {
            OwnedScales::F16(scales) => f16::from_f64(difference * scales[at].to_f64()).to_f64(),
            OwnedScales::Bf16(scales) => bf16::from_f64(difference * scales[at].to_f64()).to_f64(),
            OwnedScales::F32(scales) => f64::from((difference * f64::from(scales[at])) as f32),
        }
    }
}

/// A small generator: the cases of a law differ by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
    /// In -1..1.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / 2f64.powi(52) - 1.0
    }
    fn numbers<T: Number>(&mut self, count: usize) -> Vec<T> {
        (0..count).map(|_| T::from_f64(self.uniform())).collect()
    }
}

/// Roundings on the longest way from a product into its sum: a run of at most 256 terms, one addition for each run,
/// the lanes of a vector, the bias.
fn roundings(terms: usize) -> f64 {
    (terms.min(256) + terms.div_ceil(128) + 16 + 2) as f64
}

/// Checks `out[m, n] = sum_k left[m, k] * weight(k, n) + bias[n]` against f64.
fn check_product<T: Number>(
    left: &[T],
    weight: impl Fn(usize, usize) -> f64,
    bias: Option<&[f32]>,
    out: &[T],
    shape: [usize; 3],
) {
    let [rows, inner, columns] = shape;
    for row in 0..rows {
        for column in 0..columns {
            let bias = bias.map_or(0.0, |bias| f64::from(bias[column]));
            let (mut sum, mut size) = (bias, bias.abs());
            for k in 0..inner {
                let term = left[row * inner + k].to_f64() * weight(k, column);
                sum += term;
                size += term.abs();
            }
            let error = (roundings(inner) * f64::from(f32::EPSILON) / 2.0 + T::TERM_ERROR) * size + 1e-300;
            let bound = error + T::half_spacing(sum.abs() + error);
            let found = out[row * columns + column].to_f64();
            assert!((found - sum).abs() <= bound, "[{row}, {column}]: {found} for {sum}, bound {bound:e}");
        }
    }
}

/// Forward and gradient of every instruction set, against f64 and between one thread and three.
fn check_layer<T: Number>(layer: &Layer, rows: usize, random: &mut Random) {
    layer.in_each_order(|packed| check_products::<T>(layer, packed, rows, random));
}

fn check_products<T: Number>(layer: &Layer, packed: &Packed<'_>, rows: usize, random: &mut Random) {
    let (inner, outer) = (layer.in_features, layer.out_features);
    let x = random.numbers::<T>(rows * inner);
    let grad_y = random.numbers::<T>(rows * outer);
    let bias = random.numbers::<f32>(outer);
    let bias = (rows % 2 == 1).then_some(&bias[..]);
    for isa in Isa::available() {
        let mut y = vec![T::default(); rows * outer];
        forward(&x, packed, bias, &mut y, &Serial, isa);
        check_product(&x, |i, o| layer.weight(i, o), bias, &y, [rows, inner, outer]);
        let mut again = vec![T::from_f64(7.0); rows * outer];
        forward(&x, packed, bias, &mut again, &Threads(3), isa);
        assert!(y.iter().zip(&again).all(|(a, b)| a.bits() == b.bits()), "forward, {isa}");

        let mut grad_x = vec![T::default(); rows * inner];
        grad_input(&grad_y, packed, &mut grad_x, &Serial, isa);
        check_product(&grad_y, |o, i| layer.weight(i, o), None, &grad_x, [rows, outer, inner]);
        let mut again = vec![T::from_f64(7.0); rows * inner];
        grad_input(&grad_y, packed, &mut again, &Threads(3), isa);
        assert!(grad_x.iter().zip(&again).all(|(a, b)| a.bits() == b.bits()), "grad_input, {isa}");
    }
}

fn check_weights(layer: &Layer) {
    layer.in_each_order(|packed| check_dense(layer, packed));
}

fn check_dense(layer: &Layer, packed: &Packed<'_>) {
    for isa in Isa::available() {
        let mut dense = vec![0f32; layer.codes.len()];
        dequantize(packed, &mut dense, &Threads(2), isa);
        for (index, found) in dense.iter().enumerate() {
            let (o, i) = (index / layer.in_features, index % layer.in_features);
            let expected = layer.weight(i, o) as f32;
            assert_eq!(found.to_bits(), expected.to_bits(), "{isa} W[{i}, {o}]: {found:e} for {expected:e}");
        }
    }
}

#[test]
fn words_hold_columns_in_the_order_of_the_format() {
    assert_eq!(pack(&[0, 1, 2, 3, 4, 5, 6, 7]), [0x7531_6420]);
    assert_eq!(pack(&[15, 0, 7, 8, 1, 14, 3, 12]), [-830_459_521]);
    assert_eq!(pack(&[8; 8]), [-2_004_318_072]);
    for (nibble, column) in NIBBLE_COLUMN.into_iter().enumerate() {
        assert_eq!(COLUMN_SHIFT[column] as usize, 4 * nibble);
    }
    // The same words, read by every kernel's way of reading: with a zero of 0 and a scale of 1, weights are codes.
    let codes: Vec<u8> = (0..32).flat_map(|row| [15, 0, 7, 8, 1, 14, 3, (12 + row) % 16]).collect();
    let layer = Layer::new(codes, vec![0; 8], OwnedScales::F16(vec![f16::ONE; 8]), [32, 8, 32]);
    assert_eq!(layer.qweight[0], -830_459_521);
    check_weights(&layer);
}

#[test]
fn weights_are_the_product_rounded_once_for_every_code_zero_and_kind_of_scale() {
    // Row = code, group = zero: rows 16 z ..+ 16 hold all codes with zero point z.
    let f16_scales = [0.0123, -0.0123, 65504.0, 5.96e-8, 3.3e-7, 6.1e-5, 0.0, -0.0, 4400.0, 1e-6, 1.0, -2.5]
        .map(f16::from_f64);
    let bf16_scales =
        [0.0123, -0.0123, 3.38e38, 9.2e-41, 1.2e-38, 3.3e-39, 0.0, -0.0, 2.3e37, 1e-6, 1.0, -2.5]
            .map(bf16::from_f64);
    let f32_scales = [0.0123, -0.0123, f32::MAX, 1e-45, 1.2e-38, 3.3e-39, 0.0, -0.0, 2.3e37, 1e-6, 1.0, -2.5];
    let columns = 16;
    let codes: Vec<u8> = (0..256).flat_map(|row| [(row % 16) as u8; 16]).collect();
    let zeros: Vec<u8> = (0..16).flat_map(|group| [group; 16]).collect();
    let spread = |index: usize| index % columns % 12;
    for (group_size, repeat) in [(16, 1), (4, 4)] {
        let zeros: Vec<u8> = zeros.chunks_exact(columns).flat_map(|zeros| zeros.repeat(repeat)).collect();
        let count = zeros.len();
        let all = [
            OwnedScales::F16((0..count).map(|index| f16_scales[spread(index)]).collect()),
            OwnedScales::Bf16((0..count).map(|index| bf16_scales[spread(index)]).collect()),
            OwnedScales::F32((0..count).map(|index| f32_scales[spread(index)]).collect()),
        ];
        for scales in all {
            check_weights(&Layer::new(codes.clone(), zeros.clone(), scales, [256, columns, group_size]));
        }
    }
}

#[test]
fn dequantizing_to_the_dtype_of_the_scales_is_exact() {
    let layer = Layer::random([48, 24, 16], 0, &mut Random(3));
    let mut dense = vec![f16::ZERO; 48 * 24];
    dequantize(&layer.packed(), &mut dense, &Serial, Isa::detect());
    for (index, found) in dense.iter().enumerate() {
        assert_eq!(found.to_f64(), layer.weight(index % 48, index / 48));
    }
}

#[test]
fn products_are_right_and_do_not_depend_on_threads_at_every_edge_of_the_blocking() {
    let mut random = Random(1);
    let shapes = [[32, 8, 32], [9, 16, 1], [51, 40, 17], [300, 264, 100], [520, 136, 260]];
    for (index, shape) in shapes.into_iter().enumerate() {
        let layer = Layer::random(shape, index % 3, &mut random);
        for rows in [0, 1, 2, 5, 8, 9, 33, 70] {
            check_layer::<f32>(&layer, rows, &mut random);
        }
    }
    let layer = Layer::random([4224, 8, 44], 1, &mut random);
    for rows in [1, 8] {
        check_layer::<f16>(&layer, rows, &mut random);
    }
    for shape in [[64, 264, 32], [300, 264, 100], [45, 40, 5], [1037, 16, 61], [1024, 2184, 128]] {
        let layer = Layer::random(shape, 0, &mut random);
        for rows in if shape[1] < 2000 { [1, 6, 9, 33, 259].as_slice() } else { &[1, 4, 17] }.iter().copied()
        {
            check_layer::<bf16>(&layer, rows, &mut random);
        }
    }
    for shape in [[64, 264, 32], [300, 264, 100], [45, 40, 5], [1037, 16, 61]] {
        let layer = Layer::random(shape, 0, &mut random);
        for rows in [65, 259] {
            check_layer::<f16>(&layer, rows, &mut random);
            check_layer::<f32>(&layer, rows, &mut random);
        }
    }
    // More rows of the weight than a stretch has, and a strip that is not full, in either order of the words.
    for shape in [[4224, 40, 32], [8320, 136, 8320]] {
        let layer = Layer::random(shape, 0, &mut random);
        for rows in [1, 3, 11] {
            check_layer::<f32>(&layer, rows, &mut random);
            check_layer::<f16>(&layer, rows, &mut random);
        }
    }
    // Enough blocks of the largest size for two threads.
    let layer = Layer::random([32, 1032, 32], 0, &mut random);
    check_layer::<bf16>(&layer, 1030, &mut random);
    check_layer::<f32>(&layer, 520, &mut random);
}

#[test]
fn every_number_of_few_rows_is_multiplied_right_whatever_the_group() {
    let mut random = Random(3);
    for shape in [[256, 136, 128], [320, 136, 64], [96, 264, 32]] {
        for rows in (1..=17).chain([28, 29, 43, 63, 64, 65]) {
            let layer = Layer::random(shape, rows % 2, &mut random);
            check_layer::<f32>(&layer, rows, &mut random);
            check_layer::<bf16>(&layer, rows, &mut random);
        }
    }
}

#[test]
fn columns_are_preferred_where_one_instruction_looks_sixteen_weights_up_and_groups_repay_it() {
    assert!(takes_columns(32) && takes_columns(4096) && !takes_columns(48) && !takes_columns(-1));
    assert_eq!(
        [fastest_order::<bf16>(128), fastest_order::<f32>(32), fastest_order::<f16>(80)],
        [Major::Row; 3]
    );
    let looked_up = Isa::current() == Ok(Isa::Avx512);
    let expected = if looked_up { Major::Column } else { Major::Row };
    assert_eq!([fastest_order::<f32>(128), fastest_order::<f16>(64)], [expected; 2]);
}

#[test]
fn a_segment_knows_how_many_rows_come_behind_it() {
    let layer = Layer::random([320, 8, 80], 0, &mut Random(4));
    for (rows, longest) in [(0..320, 64), (30..320, 64), (16..300, 32), (81..82, 32)] {
        let segments: Vec<_> = layer.packed().segments(rows.clone(), longest).collect();
        let behind = segments[1..].iter().map(|segment| segment.count).chain([0]);
        assert!(segments.iter().map(|segment| segment.behind).eq(behind), "{segments:?}");
        assert_eq!(segments.iter().map(|segment| segment.count).sum::<usize>(), rows.len());
    }
}

#[test]
fn a_weight_without_rows_or_columns_is_an_empty_sum() {
    let empty = OwnedScales::F32(Vec::new());
    let no_rows = Layer::new(Vec::new(), Vec::new(), empty.clone(), [0, 8, 4]);
    let bias = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let mut y = [0f32; 8];
    forward(&[], &no_rows.packed(), Some(&bias), &mut y, &Serial, Isa::detect());
    assert_eq!(y, bias);
    grad_input(&[0f32; 8], &no_rows.packed(), &mut [], &Serial, Isa::detect());
    let no_columns = Layer::new(Vec::new(), Vec::new(), empty, [4, 0, 4]);
    let mut grad_x = [1f32; 8];
    grad_input(&[], &no_columns.packed(), &mut grad_x, &Serial, Isa::detect());
    assert_eq!(grad_x, [0.0; 8]);
    forward(&[0f32; 8], &no_columns.packed(), None, &mut [], &Serial, Isa::detect());
    dequantize::<f32>(&no_columns.packed(), &mut [], &Serial, Isa::detect());
}

#[test]
fn a_few_rows_of_bf16_meet_weights_that_are_not_rounded_to_bf16() {
    let mut random = Random(7);
    for shape in [[64, 8, 32], [256, 264, 64], [300, 1168, 100], [1500, 136, 2], [4096, 128, 4096]] {
        let layer = Layer::random(shape, 2, &mut random);
        let packed = layer.packed();
        let [inner, outer, _] = shape;
        for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 32] {
            let x = random.numbers::<bf16>(rows * inner);
            for isa in Isa::available() {
                let mut y = vec![bf16::ZERO; rows * outer];
                forward(&x, &packed, None, &mut y, &Serial, isa);
                for (index, found) in y.iter().enumerate() {
                    let (row, column) = (index / outer, index % outer);
                    let (mut sum, mut size) = (0.0, 0.0);
                    for i in 0..inner {
                        let term = x[row * inner + i].to_f64() * layer.weight(i, column);
                        sum += term;
                        size += term.abs();
                    }
                    let error = (roundings(inner) + 1.0) * f64::from(f32::EPSILON) / 2.0 * size;
                    let bound = error + bf16::half_spacing(sum.abs() + error);
                    assert!((found.to_f64() - sum).abs() <= bound, "{isa} {shape:?} [{row}, {column}]");
                }
            }
        }
    }
}

#[test]
fn small_activations_are_not_lost_beside_large_ones_that_meet_no_weight() {
    let mut random = Random(8);
    let shape @ [inner, outer, group_size] = [96, 424, 32];
    let mut layer = Layer::random(shape, 0, &mut random);
    // Every third row of the weight is zero, and meets the large activations.
    for (index, code) in layer.codes.iter_mut().enumerate() {
        let (i, o) = (index / outer, index % outer);
        if i % 3 == 0 {
            *code = layer.zeros[i / group_size * outer + o];
        }
    }
    let layer = Layer::new(layer.codes, layer.zeros, layer.scales, shape);
    for exponent in [-60, -32, -23, -16, -8] {
        for rows in [1, 2, 3, 8] {
            let small = 2f64.powi(exponent);
            let mut x = random.numbers::<bf16>(rows * inner);
            for (index, x) in x.iter_mut().enumerate() {
                *x = bf16::from_f64(x.to_f64() * if index % 3 == 0 { 1.0 } else { small });
            }
            for isa in Isa::available() {
                let mut y = vec![bf16::ZERO; rows * outer];
                forward(&x, &layer.packed(), None, &mut y, &Serial, isa);
                check_product(&x, |i, o| layer.weight(i, o), None, &y, [rows, inner, outer]);
            }
        }
    }
}

#[test]
fn weights_of_zero_make_zeros() {
    for columns in [24, 424] {
        let codes: Vec<u8> = (0..64).flat_map(|row| vec![(row / 32 * 5 + 3) as u8; columns]).collect();
        let scales = OwnedScales::F16(vec![f16::from_f32(0.01); 2 * columns]);
        let zeros = vec![3; columns].into_iter().chain(vec![8; columns]).collect();
        let layer = Layer::new(codes, zeros, scales, [64, columns, 32]);
        for rows in [1, 2, 4, 12, 40] {
            let x = Random(1).numbers::<bf16>(rows * 64);
            for isa in Isa::available() {
                let mut y = vec![bf16::ONE; rows * columns];
                forward(&x, &layer.packed(), None, &mut y, &Serial, isa);
                assert!(y.iter().all(|y| *y == bf16::ZERO), "{isa}, {rows} rows");
            }
        }
    }
}

#[test]
fn weights_that_overflow_their_dtype_are_infinite_in_products_too() {
    // 2 * 65504 is infinite in f16, and its product with anything but zero.
    let scales = OwnedScales::F16(vec![f16::MAX; 8]);
    let layer = Layer::new(vec![9; 32 * 8], vec![7; 8], scales, [32, 8, 32]);
    for rows in [1, 3, 20, 40] {
        let x = vec![bf16::from_f32(1e-3); rows * 32];
        for isa in Isa::available() {
            let mut y = vec![bf16::ZERO; rows * 8];
            forward(&x, &layer.packed(), None, &mut y, &Serial, isa);
            assert!(y.iter().all(|y| *y == bf16::INFINITY), "{isa}, {rows} rows");
        }
    }
}

/// Infinite in one place of `x`, no number in one of `grad_y`.
fn check_infinities<T: Number>(random: &mut Random) {
    for group_size in [32, 24, 3] {
        let layer = Layer::random([96, 40, group_size], 0, random);
        let packed = layer.packed();
        for rows in [2, 4, 12, 70] {
            let mut x = random.numbers::<T>(rows * 96);
            let mut grad_y = random.numbers::<T>(rows * 40);
            x[5] = T::from_f64(f64::INFINITY);
            grad_y[3] = T::from_f64(f64::NAN);
            for isa in Isa::available() {
                let mut y = vec![T::default(); rows * 40];
                forward(&x, &packed, None, &mut y, &Serial, isa);
                for (o, y) in y[..40].iter().enumerate() {
                    let (expected, y) = (layer.weight(5, o) * f64::INFINITY, y.to_f64());
                    assert!(y == expected || (y.is_nan() && expected.is_nan()), "{isa} {y}");
                }
                assert!(y[40..].iter().all(|y| y.to_f64().is_finite()));
                let mut grad_x = vec![T::default(); rows * 96];
                grad_input(&grad_y, &packed, &mut grad_x, &Serial, isa);
                assert!(grad_x[..96].iter().all(|x| x.to_f64().is_nan()));
                assert!(grad_x[96..].iter().all(|x| x.to_f64().is_finite()));
            }
        }
    }
}

#[test]
fn infinities_and_nan_reach_every_output_they_touch_and_no_other() {
    let mut random = Random(5);
    check_infinities::<f32>(&mut random);
    check_infinities::<bf16>(&mut random);
    check_infinities::<f16>(&mut random);
}

#[test]
fn rows_of_very_small_or_large_numbers_are_as_exact_as_others() {
    let mut random = Random(6);
    let layer = Layer::random([96, 40, 32], 0, &mut random);
    for factor in [1e-37, 1e-33, 1e-30, 1e30, 1e35] {
        let mut x = random.numbers::<f32>(70 * 96);
        x[96..192].iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        for isa in Isa::available() {
            let mut y = vec![0.0f32; 70 * 40];
            forward(&x, &layer.packed(), None, &mut y, &Serial, isa);
            check_product(&x, |i, o| layer.weight(i, o), None, &y, [70, 96, 40]);
        }
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let scales = Scales::F32(&[0.0; 16]);
    let new = |qweight, in_features, out_features, group_size| {
        Packed::new((qweight, Major::Row), &[0; 2], scales, in_features, out_features, group_size)
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(new(&[0; 8], 8, 12, 4), PackedError::OutFeatures(12));
    assert_eq!(new(&[0; 8], 8, 8, 0), PackedError::GroupSize { group_size: 0, in_features: 8 });
    assert_eq!(new(&[0; 8], 8, 8, 3), PackedError::GroupSize { group_size: 3, in_features: 8 });
    let columns = Packed::new((&[0; 8], Major::Column), &[0; 2], scales, 8, 8, 4).map(|_| ());
    assert_eq!(columns.unwrap_err(), PackedError::Blocks(4));
    assert_eq!(new(&[0; 7], 8, 8, 4), PackedError::Length { part: "qweight", found: 7, expected: 8 });
    assert_eq!(new(&[0; 8], 8, 8, 8), PackedError::Length { part: "qzeros", found: 2, expected: 1 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_are_right_and_do_not_depend_on_threads(
        groups in 1usize..5,
        group_size in 1usize..80,
        words in 1usize..20,
        rows in 0usize..40,
        dtypes in (0usize..3, 0usize..3),
        seed in any::<u64>(),
    ) {
        let mut random = Random(seed);
        let layer = Layer::random([groups * group_size, words * WORD_COLUMNS, group_size], dtypes.0, &mut random);
        check_weights(&layer);
        match dtypes.1 {
            0 => check_layer::<f16>(&layer, rows, &mut random),
            1 => check_layer::<bf16>(&layer, rows, &mut random),
            _ => check_layer::<f32>(&layer, rows, &mut random),
        }
    }
}
