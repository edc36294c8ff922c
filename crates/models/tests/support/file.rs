//! A safetensors file taken apart and put together again, whole or with lies in it.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Dtype, shape and bytes of a tensor.
pub(crate) type Entry = (String, Vec<i64>, Vec<u8>);

pub(crate) fn read(path: &Path) -> BTreeMap<String, Entry> {
    let bytes = std::fs::read(path).unwrap();
    let (header, data) = split(&bytes);
    let entry = |info: &Value| {
        let shape: Vec<i64> =
            info["shape"].as_array().unwrap().iter().map(|size| size.as_i64().unwrap()).collect();
        let offset = |end: usize| usize::try_from(info["data_offsets"][end].as_u64().unwrap()).unwrap();
        (info["dtype"].as_str().unwrap().to_owned(), shape, data[offset(0)..offset(1)].to_vec())
    };
    header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, info)| (name.clone(), entry(info)))
        .collect()
}

pub(crate) fn write(path: &Path, tensors: &BTreeMap<String, Entry>) {
    let mut header = Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (name, (dtype, shape, bytes)) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend(bytes);
    }
    join(path, &header, &data);
}

/// Changes the header alone.
pub(crate) fn edit_header(path: &Path, edit: impl FnOnce(&mut Map<String, Value>)) {
    let bytes = std::fs::read(path).unwrap();
    let (mut header, data) = split(&bytes);
    edit(&mut header);
    join(path, &header, data);
}

fn split(bytes: &[u8]) -> (Map<String, Value>, &[u8]) {
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), &bytes[8 + length..])
}

fn join(path: &Path, header: &Map<String, Value>, data: &[u8]) {
    let header = serde_json::to_vec(header).unwrap();
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    std::fs::write(path, [&length[..], &header, data].concat()).unwrap();
}

/// Changes a JSON file of the folder.
pub(crate) fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

/// A copy of `folder`'s files, to be damaged.
pub(crate) fn copy(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}
