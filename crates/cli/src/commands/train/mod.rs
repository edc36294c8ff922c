//! `qtuner train`: settings, data, model, adapter, run, summary; top to bottom.

mod activations;
mod dry_run;
mod interrupt;
mod memory;
mod prepare;
mod progress;
mod summary;

use crate::failure::Failure;
use crate::output::{self, JsonFlag, Reader};
use crate::settings::{CONFIG_FILE, Settings, TrainFlags};
use crate::warning::Warning;
use memory::Memory;
use prepare::{ADAPTER, Data};
use progress::Progress;
use qtuner_train::{Checkpoint, Trainer};
use std::path::{Path, PathBuf};
use std::time::Instant;
use summary::Summary;

/// Arguments of `qtuner train`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every flag with a value can stand in the file of --config, under the same name with `_` for `-`; a flag beats the file. The
settings that a run used are kept in OUTPUT/run.toml.

Examples:
  qtuner train --model my-model-awq --data my-text.txt --output my-adapter
  qtuner train --config run.toml --learning-rate 1e-3 --dry-run
  qtuner train --resume --output my-adapter")]
pub(crate) struct TrainArgs {
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on from the newest checkpoint in --output, with the settings kept there
    #[arg(long)]
    resume: bool,
    /// Print what would be done: layers, trainable parameters, memory, steps; and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    flags: TrainFlags,
}

/// Trains.
pub(crate) fn run(args: &TrainArgs) -> Result<(), Failure> {
    let settings = settings(args)?;
    let checkpoint = checkpoint(args, &settings)?;
    let mut data = Data::load(&settings)?;
    let (mut model, injection) = prepare::adapted_model(&settings, checkpoint.as_ref())?;
    Trainer::check_data(&model, &data.train, &data.eval)?;
    let memory = Memory::estimate(&settings, &model, &injection, &data);
    data.warnings.extend(Warning::about_patterns(&injection.survey));
    data.warnings.extend(Warning::about_options(&settings.train, &data.plan(&settings)));
    data.warnings.extend(Warning::about_context(data.longest_text(), model.inner().config()));
    data.warnings.extend(Warning::about_memory(memory.total(), super::env::memory()));
    if args.dry_run {
        return dry_run::show(&settings, &data, &injection, &memory, args.json.reader());
    }
    prepare::describe(&settings, &data, &injection);
    let stop = interrupt::flag()?;
    let mut progress = Progress::new();
    let started = Instant::now();
    let prompt = data.prompt();
    let Data { train, eval, .. } = data;
    let mut trainer =
        Trainer::new(&mut model, ADAPTER, settings.train.clone(), train, eval, &settings.run.output)?;
    if let Some(checkpoint) = &checkpoint {
        trainer.resume(checkpoint)?;
    }
    settings.save()?;
    let outcome = trainer.run(&mut progress, stop)?;
    let summary = Summary::new(&settings, outcome, &progress, started.elapsed(), prompt);
    match args.json.reader() {
        Reader::Program => output::json(&summary),
        Reader::Person => output::part(&summary.text(&settings)),
    }
}

/// The settings; a resumed run has its own to start from, and keeps its adapter's.
fn settings(args: &TrainArgs) -> Result<Settings, Failure> {
    let config = args.config.as_deref();
    if !args.resume {
        return Settings::resolve(&args.flags, config.as_slice());
    }
    let output = match (args.flags.output(), config) {
        (Some(output), _) => output.clone(),
        (None, Some(config)) => Settings::resolve(&args.flags, &[config])?.run.output,
        (None, None) => {
            return Err(Failure::usage(
                "--resume needs --output FOLDER",
                "the folder of the run that is to go on",
            ));
        }
    };
    let kept = output.join(CONFIG_FILE);
    if !kept.is_file() {
        if Checkpoint::newest(&output)?.is_none() {
            return Err(nothing_to_resume(&output));
        }
        return Settings::resolve(&args.flags, config.as_slice());
    }
    let before = Settings::read(&kept)?;
    let bases: Vec<_> = std::iter::once(kept.as_path()).chain(config).collect();
    let settings = Settings::resolve(&args.flags, &bases)?;
    match settings.changes_since(&before)? {
        None => Ok(settings),
        Some(change) => {
            let message = format!("{}: a resumed run keeps its adapter: {change}", kept.display());
            Err(Failure::usage(message, "leave that out, or start another run with another --output"))
        }
    }
}

/// A folder that holds a model, an adapter, or the settings that were asked for is somebody's.
fn refuse_to_overwrite(args: &TrainArgs, output: &Path) -> Result<(), Failure> {
    let is_config = |path: &Path| match (&args.config, path.canonicalize()) {
        (Some(config), Ok(path)) => config.canonicalize().is_ok_and(|config| config == path),
        _ => false,
    };
    let held = [("config.json", "a model"), ("adapter_config.json", "an adapter")];
    let held = held.into_iter().find(|(file, _)| output.join(file).exists()).map(|(_, what)| what);
    let what = if is_config(&output.join(CONFIG_FILE)) { Some("the file of --config") } else { held };
    match what {
        None => Ok(()),
        Some(what) => Err(Failure::new(
            format!("{}: holds {what}, which a run would write over", output.display()),
            "--output FOLDER with a folder of the run's own",
        )),
    }
}

fn nothing_to_resume(output: &Path) -> Failure {
    let message = format!("{}: no checkpoint to resume from", output.display());
    Failure::new(message, "leave out --resume to start from the beginning")
}

/// Where a resumed run goes on; an error if there is nothing to resume, or something that would be written over.
fn checkpoint(args: &TrainArgs, settings: &Settings) -> Result<Option<Checkpoint>, Failure> {
    let output = &settings.run.output;
    let place = output.display();
    if output.exists() && !output.is_dir() {
        let hint = "--output wants a folder, which is made if it is not there";
        return Err(Failure::new(format!("{place}: not a folder"), hint));
    }
    let newest = Checkpoint::newest(output)?;
    match (args.resume, newest) {
        (true, None) => Err(nothing_to_resume(output)),
        (false, Some(checkpoint)) if !args.dry_run => Err(Failure::new(
            format!("{place}: a run has reached step {} here already", checkpoint.state().global_step),
            "--resume goes on with it; --output FOLDER starts another",
        )),
        (false, None) if !args.dry_run => refuse_to_overwrite(args, output).map(|()| None),
        (false, _) => Ok(None),
        (true, newest) => Ok(newest),
    }
}
