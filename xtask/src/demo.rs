//! `cargo xtask demo`: a real fine-tuning, from a fresh clone, in about two minutes on two cores, building not counted.
//!
//! The model that ships in `assets` knows the King James Bible; the adapter teaches it Shakespeare, whose last 5 % it never
//! sees. Every step is a `qtuner` command as one would type it.

use std::path::Path;

use crate::workspace::{self, Workspace};
use crate::{Error, compiler, libtorch};

/// The checkpoint: AutoAWQ's format, 5.8 million parameters.
const MODEL: &str = "assets/tiny-kjv-awq";
/// What it learns.
const DATA: &str = "assets/shakespeare.txt";
/// Where the adapter goes.
const OUTPUT: &str = "target/demo";
/// The part of the data that is held out.
const HELD_OUT: &str = "0.05";
/// What both models continue.
const PROMPT: &str = "First Citizen:";

const TRAINING: &str = "--r 16 --lora-alpha 32 --target-modules all-linear --sequence-length 256 --batch-size 8 \
    --learning-rate 3e-3 --lr-scheduler cosine --max-steps 180 --eval-every 20 --eval-on-start --seed 0";

const SAMPLING: &str = "--max-new-tokens 120 --temperature 0.7 --top-p 0.9 --seed 3";

/// Sets up where needed, builds, evaluates, trains, evaluates, compares, and says what to type next.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    compiler::check()?;
    libtorch::ensure(workspace)?;
    workspace::run(&mut workspace.cargo(&["build", "--release", "--package", "qtuner"]))?;
    clear(&workspace.root().join(OUTPUT))?;
    let files = ["--model", MODEL, "--data", DATA];
    let adapter = ["--adapter", OUTPUT];
    let held_out = ["--last-fraction", HELD_OUT, "--sequence-length", "256", "--batch-size", "8"];

    say("1. What the model makes of Shakespeare that nobody will train on");
    qtuner(workspace, &["eval"], &[&files, &held_out])?;
    say("2. An adapter learns the other 95 %");
    let training: Vec<&str> = TRAINING.split_whitespace().collect();
    let output = ["--output", OUTPUT, "--eval-fraction", HELD_OUT];
    qtuner(workspace, &["train"], &[&files, &output, &training])?;
    say("3. The held-out part again, with and without the adapter");
    qtuner(workspace, &["eval"], &[&files, &adapter, &held_out])?;
    say("4. The same prompt and seed, before and after");
    let sampling: Vec<&str> = SAMPLING.split_whitespace().collect();
    let prompt = ["--compare", "--prompt", PROMPT];
    qtuner(workspace, &["generate"], &[&files[..2], &adapter, &prompt, &sampling])?;

    say("Done");
    print!("{}", next(workspace));
    Ok(())
}

/// Runs `qtuner` with a command and groups of arguments.
fn qtuner(workspace: &Workspace, command: &[&str], arguments: &[&[&str]]) -> Result<(), Error> {
    let program = ["run", "--release", "--quiet", "--package", "qtuner", "--"];
    workspace::run(workspace.cargo(&program).args(command).args(arguments.concat()))?;
    Ok(())
}

fn say(title: &str) {
    println!("\n=== {title}\n");
}

fn next(workspace: &Workspace) -> String {
    let root = workspace.root().display();
    format!(
        "The loss curve is {root}/{OUTPUT}/loss.png (and loss.svg); the adapter beside it is a PEFT folder.\n\n\
         With a model and a text of your own, where `qtuner` is `cargo run --release -p qtuner --`:\n\n  \
         qtuner inspect FOLDER\n  \
         qtuner train --model FOLDER --data FILE --output my-adapter --dry-run\n  \
         qtuner train --model FOLDER --data FILE --output my-adapter\n  \
         qtuner generate --model FOLDER --adapter my-adapter --compare --prompt \"...\"\n"
    )
}

/// Takes away the result of an earlier demo.
fn clear(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Clear { path: folder.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_an_earlier_demo_is_taken_away() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = folder.path().join("demo");
        clear(&place).expect("nothing is there");
        std::fs::create_dir_all(place.join("checkpoint-1")).expect("writable");
        clear(&place).expect("a folder");
        assert!(!place.exists());
    }

    #[test]
    fn what_the_demo_reads_is_in_the_repository() {
        let root = Workspace::current().root().to_owned();
        assert!(root.join(MODEL).join("tokenizer.json").is_file() && root.join(DATA).is_file());
    }
}
