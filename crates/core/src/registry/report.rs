//! The table as text.

use super::Registry;
use std::fmt;

impl fmt::Display for Registry {
    /// One line for each dispatcher: priority, name, package.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.names().iter().map(|name| name.len()).max().unwrap_or(0).max("backend".len());
        writeln!(f, "{:<width$}  {:>8}  package", "backend", "priority")?;
        for dispatcher in self.dispatchers() {
            let source = dispatcher.source();
            writeln!(
                f,
                "{:<width$}  {:>8}  {} {}",
                dispatcher.name(),
                dispatcher.priority(),
                source.package,
                source.version
            )?;
        }
        Ok(())
    }
}
