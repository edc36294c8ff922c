//! Eight 4-bit codes in a word, in AutoAWQ's order.
//!
//! Nibble `l` (bits `4l..4l+3`) of word `c` holds column `8c + ORDER[l]`, `ORDER = [0, 2, 4, 6, 1, 3, 5, 7]`; so column
//! `8c + j` sits in nibble `LANE[j]`, `LANE = [0, 4, 1, 5, 2, 6, 3, 7]`.

use crate::AwqError;
use tch::{Kind, Tensor};

/// The shift to each column's nibble: four times the nibble's number.
const SHIFTS: [i64; 8] = [0, 16, 4, 20, 8, 24, 12, 28];

/// The codes `int32 [rows, 8 * words]`, each 0 to 15, of packed words `int32 [rows, words]`.
///
/// ```
/// let words = tch::Tensor::from_slice(&[0x7531_6420_i32]).view([1, 1]);
/// let codes = Vec::<i32>::try_from(qtuner_awq::unpack(&words)?.view(-1))?;
/// assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`AwqError::Tensor`] for anything but an int32 matrix.
pub fn unpack(words: &Tensor) -> Result<Tensor, AwqError> {
    let [rows, columns] = matrix("words", words, 1)?;
    let unpack = || {
        let shifts = Tensor::from_slice(&SHIFTS).f_to_kind(Kind::Int)?.f_to_device(words.device())?;
        // An arithmetic shift drags the sign in from above; the mask takes it off again.
        let nibbles = words.f_unsqueeze(-1)?.f_bitwise_right_shift(&shifts)?.f_bitwise_and(15)?;
        nibbles.f_reshape([rows, columns * 8])
    };
    unpack().map_err(AwqError::torch("unpacking"))
}

/// The packed words `int32 [rows, columns / 8]` of codes `[rows, columns]`, each 0 to 15.
///
/// ```
/// let codes = tch::Tensor::from_slice(&[15_i32, 0, 7, 8, 1, 14, 3, 12]).view([1, 8]);
/// let words = Vec::<i32>::try_from(qtuner_awq::pack(&codes)?.view(-1))?;
/// assert_eq!(words, [0xCE80_317F_u32.cast_signed()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`AwqError::Tensor`] for anything but an int32 matrix with a multiple of 8 columns, and for codes out of range.
pub fn pack(codes: &Tensor) -> Result<Tensor, AwqError> {
    let [rows, columns] = matrix("codes", codes, 8)?;
    let out_of_range = |codes: &Tensor| {
        let outside = codes.f_lt(0)?.f_logical_or(&codes.f_gt(15)?)?.f_any()?;
        bool::try_from(&outside)
    };
    if codes.numel() > 0 && out_of_range(codes).map_err(AwqError::torch("packing"))? {
        return Err(AwqError::Tensor {
            tensor: "codes",
            found: "codes out of range".to_owned(),
            expected: "0 to 15".to_owned(),
        });
    }
    let pack = || {
        let shifts = Tensor::from_slice(&SHIFTS).f_to_device(codes.device())?;
        let lanes = codes.f_to_kind(Kind::Int64)?.f_reshape([rows, columns / 8, 8])?;
        // The nibbles do not overlap, so their sum is their union; the top one reaches bit 31 and wraps into the sign.
        let words =
            lanes.f_bitwise_left_shift(&shifts)?.f_sum_dim_intlist([-1i64].as_slice(), false, Kind::Int64)?;
        words.f_to_kind(Kind::Int)
    };
    pack().map_err(AwqError::torch("packing"))
}

fn matrix(tensor: &'static str, found: &Tensor, multiple: i64) -> Result<[i64; 2], AwqError> {
    match found.size()[..] {
        [rows, columns] if found.kind() == Kind::Int && columns % multiple == 0 => Ok([rows, columns]),
        _ => Err(AwqError::Tensor {
            tensor,
            found: format!("{:?} {:?}", found.kind(), found.size()),
            expected: format!("Int [rows, a multiple of {multiple}]"),
        }),
    }
}
