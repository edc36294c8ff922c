//! The effective settings as a file, beside the result.

use super::{Settings, Table, names};
use crate::failure::Failure;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file's name in the output folder.
pub(crate) const CONFIG_FILE: &str = "run.toml";

impl Settings {
    /// Every setting, defaults included, with paths that hold from any folder.
    pub(crate) fn to_toml(&self) -> Result<String, Failure> {
        let mut table = Table::new();
        let mut run = self.run.clone();
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        for path in [&mut run.model, &mut run.data, &mut run.output] {
            *path = absolute(path);
        }
        for path in [&mut run.tokenizer, &mut run.eval_data].into_iter().flatten() {
            *path = absolute(path);
        }
        table.extend(object(serde_json::to_value(run)?));
        let lora: Value = serde_json::from_str(&self.lora.to_json()?)?;
        table.extend(object(lora).into_iter().filter(|(name, _)| names::LORA.contains(&name.as_str())));
        table.extend(object(serde_json::to_value(&self.train)?));
        table.retain(|_, value| !value.is_null() && *value != Value::Object(Table::new()));
        Ok(toml::to_string(&table)?)
    }

    /// Writes `run.toml` into the output folder, which is made if need be.
    pub(crate) fn save(&self) -> Result<PathBuf, Failure> {
        let folder = &self.run.output;
        let path = folder.join(CONFIG_FILE);
        let text = format!(
            "# The settings of this run; `qtuner train --config {CONFIG_FILE}` takes them.\n{}",
            self.to_toml()?
        );
        write_atomically(folder, &path, &text).map_err(|error| {
            Failure::new(
                format!("{}: {error}", path.display()),
                "--output wants a folder that can be written",
            )
        })?;
        Ok(path)
    }

    /// What in the adapter or the dtype differs from `before`, which a resumed run must keep; as `name was a, is b`.
    pub(crate) fn changes_since(&self, before: &Self) -> Result<Option<String>, Failure> {
        let adapter = |settings: &Self| -> Result<Table, Failure> {
            let mut table = object(serde_json::from_str(&settings.lora.to_json()?)?);
            table.retain(|name, _| names::LORA.contains(&name.as_str()));
            table.insert("dtype".to_owned(), serde_json::to_value(settings.run.dtype)?);
            Ok(table)
        };
        let (before, now) = (adapter(before)?, adapter(self)?);
        // As texts: the order of a table's entries counts, which comparing tables leaves out.
        let text = |value: Option<&Value>| value.map(Value::to_string);
        let changed = now.iter().find(|(name, value)| text(before.get(*name)) != text(Some(value)));
        Ok(changed.map(|(name, value)| {
            let old = before.get(name).unwrap_or(&Value::Null);
            format!("`{name}` was {}, is {}", names::shown(old), names::shown(value))
        }))
    }
}

fn object(value: Value) -> Table {
    match value {
        Value::Object(table) => table,
        _ => Table::new(),
    }
}

/// The old file or the new one, never a part.
fn write_atomically(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    readable(file.as_file())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Temporary files are private; results are readable like any other file.
#[cfg(unix)]
fn readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}
