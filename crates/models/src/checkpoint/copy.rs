//! From bytes to a tensor, through pieces that stay in the cache: memory holds the tensor and one piece of the file.

use std::ops::Range;
use tch::{Device, Kind, TchError, Tensor};

/// Elements copied at a time: ATen's grain, up to which it does not wake its thread pool for a copy that memory bounds.
const PIECE: usize = 1 << 15;

/// A tensor of `shape` in the dtype `kind` from the little-endian `bytes` of the dtype `stored`; `copied` is told of the
/// ranges of bytes that are not needed any more. They overlap by a piece: to read the start of one maps pages around it.
pub(super) fn tensor(
    bytes: &[u8],
    shape: &[i64],
    stored: Kind,
    kind: Kind,
    copied: impl Fn(Range<usize>),
) -> Result<Tensor, TchError> {
    let size = stored.elt_size_in_bytes();
    let product = |product: usize, size: &i64| product.checked_mul(usize::try_from(*size).ok()?);
    if shape.iter().try_fold(size, product) != Some(bytes.len()) {
        return Err(TchError::Shape(format!("{} bytes are no {stored:?} {shape:?}", bytes.len())));
    }
    let whole = Tensor::f_empty(shape, (kind, Device::Cpu))?;
    let flat = whole.f_view([-1])?;
    let (mut element, mut byte) = (0, 0_usize);
    for piece in bytes.chunks(PIECE * size) {
        let length = i64::try_from(piece.len() / size).map_err(|error| TchError::Shape(error.to_string()))?;
        let values = Tensor::f_from_data_size(piece, &[length], stored)?;
        flat.f_narrow(0, element, length)?.f_copy_(&values)?;
        copied(byte.saturating_sub(PIECE * size)..byte + piece.len());
        element += length;
        byte += piece.len();
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn a_copy_in_pieces_is_a_copy_of_the_whole() {
        let length = i64::try_from(2 * PIECE + 3).unwrap();
        let values = Tensor::arange(length, (Kind::Float, Device::Cpu)).sin();
        let halves = Vec::<f32>::try_from(&values).unwrap();
        let bytes: Vec<u8> = halves.iter().flat_map(|value| value.to_le_bytes()).collect();
        let ranges = RefCell::new(Vec::new());
        let copied = |range| ranges.borrow_mut().push(range);
        assert!(tensor(&bytes, &[length], Kind::Float, Kind::Float, copied).unwrap().equal(&values));
        assert_eq!(*ranges.borrow(), [0..4 * PIECE, 0..8 * PIECE, 4 * PIECE..8 * PIECE + 12]);
        let converted = tensor(&bytes, &[length], Kind::Float, Kind::Half, |_| ()).unwrap();
        assert!(converted.equal(&values.to_kind(Kind::Half)));
        let empty = tensor(&[], &[0, 4], Kind::Float, Kind::Half, |_| ()).unwrap();
        assert_eq!((empty.size(), empty.kind()), (vec![0, 4], Kind::Half));
    }

    #[test]
    fn a_length_that_does_not_fit_the_shape_is_refused() {
        assert!(tensor(&[0; 15], &[2, 2], Kind::Float, Kind::Float, |_| ()).is_err());
        assert!(tensor(&[0; 16], &[i64::MAX, 2], Kind::Float, Kind::Float, |_| ()).is_err());
        assert!(tensor(&[0; 16], &[-2, -2], Kind::Float, Kind::Float, |_| ()).is_err());
    }
}
