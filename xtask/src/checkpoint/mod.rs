//! `cargo xtask make-checkpoint --shape NAME FOLDER`: an AWQ checkpoint of random weights in the shape of a known model, to
//! measure speed and memory on.
//!
//! The folder is AutoAWQ's: config.json, one safetensors file, and the tokenizer of the small model in `assets/`, whose
//! tokens are in any vocabulary of that size. What the model says is noise; how long it takes is not.

mod shape;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace::Workspace;
use shape::{SHAPES, Shape};

/// Why no checkpoint was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("usage: cargo xtask make-checkpoint --shape NAME FOLDER, where NAME is one of: {}", names())]
    Usage,
    #[error("unknown shape `{name}`, expected one of: {}", names())]
    UnknownShape { name: String },
    #[error("{} exists already: remove it, or name another folder", .path.display())]
    Exists { path: PathBuf },
    #[error("cannot write {}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

fn names() -> String {
    SHAPES.iter().map(|shape| shape.name).collect::<Vec<_>>().join(", ")
}

/// Writes the folder beside its place and renames it: a folder of that name is always a whole one.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Error> {
    let [flag, name, folder] = arguments else { return Err(Error::Usage) };
    if flag != "--shape" {
        return Err(Error::Usage);
    }
    let shape = SHAPES.iter().find(|shape| shape.name == name);
    let shape = shape.ok_or_else(|| Error::UnknownShape { name: name.clone() })?;
    let folder = PathBuf::from(folder);
    if folder.exists() {
        return Err(Error::Exists { path: folder });
    }
    let mut partial = folder.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    write(shape, &workspace.root().join("assets/tiny-kjv-awq"), &partial)?;
    fs::rename(&partial, &folder).map_err(|source| Error::Io { path: folder.clone(), source })?;
    println!("{}: {} with random weights", folder.display(), shape.name);
    Ok(())
}

fn write(shape: &Shape, tokenizer: &Path, folder: &Path) -> Result<(), Error> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(io(folder))?;
    }
    fs::create_dir_all(folder).map_err(io(folder))?;
    let config = folder.join("config.json");
    fs::write(&config, shape.config()).map_err(io(&config))?;
    for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        fs::copy(tokenizer.join(file), folder.join(file)).map_err(io(&tokenizer.join(file)))?;
    }
    let model = folder.join("model.safetensors");
    writer::write(&model, &shape.tensors()).map_err(io(&model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_wrongly_is_answered_with_the_names() {
        let workspace = Workspace::current();
        let run = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            run(&workspace, &arguments).expect_err("it cannot work").to_string()
        };
        assert!(run(&[]).contains("qwen2.5-0.5b"));
        assert!(run(&["--shape", "gpt-9", "x"]).contains("`gpt-9`"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(
            run(&["--shape", "qwen2.5-0.5b", &folder.path().to_string_lossy()]).contains("exists already")
        );
    }

    #[test]
    fn the_file_is_as_long_as_its_header_says() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shape = Shape { layers: 1, hidden: 128, intermediate: 256, vocabulary: 64, ..SHAPES[0] };
        let file = folder.path().join("model.safetensors");
        writer::write(&file, &shape.tensors()).expect("it can be written");
        let bytes = fs::read(&file).expect("it is there");
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        let header = usize::try_from(header).expect("a small header");
        let data: usize = shape.tensors().iter().map(writer::Tensor::bytes).sum();
        assert_eq!(bytes.len(), 8 + header + data);
        let text = std::str::from_utf8(&bytes[8..8 + header]).expect("JSON is text");
        assert!(
            text.contains(
                "\"model.layers.0.self_attn.q_proj.qweight\":{\"dtype\":\"I32\",\"shape\":[128,112]"
            )
        );
        assert!(text.contains(&format!("{data}]}}")), "the last tensor ends where the file does");
    }
}
