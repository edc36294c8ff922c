//! `qtuner backends`: the registry's table.

use crate::failure::Failure;
use crate::output::{self, JsonFlag, Reader};
use qtuner_core::{Dispatcher, Registry};
use serde::Serialize;

/// Arguments of `qtuner backends`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackendsArgs {
    #[command(flatten)]
    json: JsonFlag,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Backend {
    name: &'static str,
    priority: i16,
    package: &'static str,
    version: &'static str,
    loads_checkpoints: bool,
}

impl Backend {
    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

impl From<&Dispatcher> for Backend {
    fn from(dispatcher: &Dispatcher) -> Self {
        let source = dispatcher.source();
        Self {
            name: dispatcher.name(),
            priority: dispatcher.priority(),
            package: source.package,
            version: source.version,
            loads_checkpoints: dispatcher.loader().is_some(),
        }
    }
}

/// The linked backends, in the order in which they are asked.
pub(super) fn linked() -> Result<Vec<Backend>, Failure> {
    Ok(Registry::linked()?.dispatchers().iter().map(Backend::from).collect())
}

/// Prints the table.
pub(crate) fn run(args: &BackendsArgs) -> Result<(), Failure> {
    match args.json.reader() {
        Reader::Program => output::json(&linked()?),
        Reader::Person => output::part(&Registry::linked()?.to_string()),
    }
}
