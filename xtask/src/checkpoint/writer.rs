//! A safetensors file of made-up values, written as a stream: eight bytes of header length, the header, the values.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// A tensor to be written.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// `I32` or `F16`.
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) fill: Fill,
}

/// What its values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Eight random 4-bit codes a word.
    Codes,
    /// Eight zero points of 8 a word.
    Eights,
    /// 2^-7: with random codes around 8, weights as large as trained ones are.
    Scale,
    /// 1.
    One,
    /// Random, of a magnitude from 2^-6 to 2^-5.
    Small,
}

impl Tensor {
    /// Its size in the file.
    pub(crate) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * if self.dtype == "I32" { 4 } else { 2 }
    }
}

/// Writes the file and syncs it.
pub(crate) fn write(path: &Path, tensors: &[Tensor]) -> io::Result<()> {
    let header = header(tensors);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&u64::try_from(header.len()).map_err(io::Error::other)?.to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut random = SplitMix(1);
    for tensor in tensors {
        for _ in 0..tensor.bytes() / 2 {
            let [low, high, ..] = random.next().to_le_bytes();
            let value = u16::from_le_bytes([low, high]);
            let half: u16 = match tensor.fill {
                Fill::Codes => value,
                Fill::Eights => 0x8888,
                Fill::Scale => 0x2000,
                Fill::One => 0x3C00,
                // A random sign and mantissa under the exponent of 2^-6.
                Fill::Small => (value & 0x83FF) | (9 << 10),
            };
            file.write_all(&half.to_le_bytes())?;
        }
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// The header, padded with spaces to a multiple of eight bytes.
fn header(tensors: &[Tensor]) -> String {
    let mut text = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes();
        let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            ",\"{}\":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{start},{end}]}}",
            tensor.name,
            tensor.dtype,
            shape.join(",")
        );
        start = end;
    }
    text.push('}');
    let padded = text.len().next_multiple_of(8);
    text.extend(std::iter::repeat_n(' ', padded - text.len()));
    text
}

/// `SplitMix64`: the same file every time.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
