//! From a checkpoint's tensors to a `WQLinear_GEMM`: which of AWQ's layouts they are in, and a layer if it is this one.
//!
//! With `O` the columns of `scales` (its rows for the GEMV layouts), for `int32` codes:
//!
//! | layout | `qweight` | `scales` | `qzeros` |
//! |---|---|---|---|
//! | GEMM | `[I, O/8]` | `[G, O]` | `[G, O/8]` |
//! | GEMM, `b` bits | `[I, O*b/32]` | `[G, O]` | `[G, O*b/32]` |
//! | GEMV | `[O, I/8]` | `[O, ..]` | `[O, ..]` |
//! | GEMV fast, llm-awq | int16 `[O/4, I]` | `[.., O]` | floating |
//! | Marlin | `[I/16, O*2]` | `[G, O]` | none |
//! | GPTQ, `ExLlama` | `[I/8, O]` | `[G, O]` | `[G, O/8]` |
//!
//! The tensors decide. The config's `version` only breaks the tie of a GEMV that looks like a GEMM, and its `bits` and
//! `group_size` are checked against what was found.

use crate::WqLinearGemm;
use qtuner_core::registry::{LayerSource, LoadError};
use qtuner_core::{Layer, LayerError};
use tch::Kind;

/// Codes in a word of four bits each.
const CODES: i64 = 8;

/// What a layer's tensors look like.
enum Layout {
    Gemm,
    Other {
        format: String,
        hint: &'static str,
    },
    /// Not AWQ, or not recognisably: for other backends to look at.
    Unknown,
}

const AS_GEMM: &str =
    "save it in the \"gemm\" version (in AutoAWQ: `\"version\": \"GEMM\"` in the quant_config)";
const AS_FOUR_BITS: &str = "quantize it to 4 bits, the only width of the awq backend";

/// The loader of AWQ layers; see the table above.
pub(crate) fn load(source: &LayerSource<'_>) -> Result<Option<Box<dyn Layer>>, LoadError> {
    match layout(source) {
        Layout::Unknown => Ok(None),
        Layout::Other { format, hint } => Err(LoadError::Unsupported {
            path: source.path.to_owned(),
            files: source.files(),
            format,
            found: source.describe(),
            hint: hint.to_owned(),
        }),
        Layout::Gemm => gemm(source).map(|layer| Some(Box::new(layer) as Box<dyn Layer>)),
    }
}

fn layout(source: &LayerSource<'_>) -> Layout {
    // What the config calls AWQ and has some of the tensors is damaged: the checks of the layer say how.
    let damaged = || {
        let some = ["qweight", "qzeros", "scales"].iter().any(|name| source.info(name).is_some());
        if some && says_awq(source) { Layout::Gemm } else { Layout::Unknown }
    };
    let Some((kind, [rows, columns])) = source.matrix("qweight") else { return damaged() };
    let other = |format: &str, hint| Layout::Other { format: format.to_owned(), hint };
    if source.info("g_idx").is_some() {
        return Layout::Unknown;
    }
    if kind == Some(Kind::Int16) || source.info("scaled_zeros").is_some() {
        return other("awq gemv_fast (llm-awq)", AS_GEMM);
    }
    let Some((_, [scale_rows, scale_columns])) = source.matrix("scales").filter(|_| kind == Some(Kind::Int))
    else {
        return damaged();
    };
    let zeros = source.matrix("qzeros").map(|(_, zeros)| zeros);
    if zeros.is_none() && columns == 2 * scale_columns {
        return other("awq marlin", AS_GEMM);
    }
    let looks_gemm = columns * CODES == scale_columns;
    let says_gemv = source
        .config(&["version", "format"])
        .is_some_and(|version| version.as_str().is_some_and(|version| version.eq_ignore_ascii_case("gemv")));
    if rows == scale_rows
        && zeros.is_some_and(|[zero_rows, _]| zero_rows == rows)
        && (!looks_gemm || says_gemv)
    {
        return other("awq gemv", AS_GEMM);
    }
    if looks_gemm {
        return Layout::Gemm;
    }
    if columns == scale_columns {
        // The same bytes are GPTQ's; only a config of AWQ makes them ExLlama's.
        return if says_awq(source) { other("awq exllama", AS_GEMM) } else { Layout::Unknown };
    }
    match bits(columns, scale_columns) {
        Some(bits) if says_awq(source) || zeros.is_some() => other(&format!("awq {bits}-bit"), AS_FOUR_BITS),
        _ => damaged(),
    }
}

/// The bits of a code when `out_features` of them fill `columns` words.
fn bits(columns: i64, out_features: i64) -> Option<i64> {
    (2..=8).find(|bits| out_features > 0 && columns == (out_features * bits + 31) / 32)
}

fn says_awq(source: &LayerSource<'_>) -> bool {
    source.config(&["quant_method"]).and_then(|method| method.as_str()).is_some_and(|method| method == "awq")
}

fn gemm(source: &LayerSource<'_>) -> Result<WqLinearGemm, LoadError> {
    let layer = WqLinearGemm::from_tensors(
        source.tensor("qweight")?,
        source.tensor("qzeros")?,
        source.tensor("scales")?,
        source.optional_tensor("bias")?,
    )
    .map_err(|error| LoadError::layer::<LayerError>(source)(error.into()))?;
    let promised = |keys: &[&str]| source.config(keys).and_then(serde_json::Value::as_i64);
    let contradiction = |found: String, promised: String| LoadError::Contradiction {
        path: source.path.to_owned(),
        files: source.files(),
        found,
        promised,
        hint: "correct the config, or take the files of one and the same checkpoint".to_owned(),
    };
    if let Some(bits) = promised(&["bits", "w_bit"]).filter(|bits| *bits != 4) {
        return Err(contradiction("4 bits".to_owned(), format!("bits = {bits}")));
    }
    if let Some(group_size) = promised(&["group_size", "q_group_size"])
        && layer.expect_group_size(group_size).is_err()
    {
        let found = format!("group_size {}", layer.group_size());
        return Err(contradiction(found, format!("group_size = {group_size}")));
    }
    Ok(layer)
}
