//! What a run leaves for people to look at: lines of JSON, event files, the picture.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_train::TrainConfig;
use qtuner_train::metrics::{self, MetricsLog, Record, curve};
use std::fs;
use std::path::Path;
use support::{config, train};

fn event_files(output: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(output.join("tensorboard")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The events of a file: lengths and checksums have to be right.
fn events(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let masked =
        |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes();
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        assert_eq!(bytes[8..12], masked(&bytes[..8]));
        let event = &bytes[12..12 + length];
        assert_eq!(bytes[12 + length..16 + length], masked(event));
        events.push(event.to_vec());
        bytes = &bytes[16 + length..];
    }
    events
}

#[test]
fn a_run_notes_every_step_and_evaluation_in_all_forms() {
    let output = tempfile::tempdir().unwrap();
    let config = TrainConfig { eval_every: Some(2), eval_on_start: true, ..config(6) };
    train(output.path(), &config, 3).unwrap();
    train(output.path(), &config, u64::MAX).unwrap();
    let records = metrics::read(output.path()).unwrap();
    let kinds: Vec<(bool, u64)> =
        records.iter().map(|record| (matches!(record, Record::Step(_)), record.step())).collect();
    let expected = [
        (false, 0),
        (true, 1),
        (true, 2),
        (false, 2),
        (true, 3),
        (true, 4),
        (false, 4),
        (true, 5),
        (true, 6),
        (false, 6),
    ];
    assert_eq!(kinds, expected);
    let files = event_files(output.path());
    // Each process starts its file with the version and the mark of its start.
    let counts: Vec<usize> = files.iter().map(|bytes| events(bytes).len()).collect();
    assert_eq!(counts, [2 + 5, 2 + 5]);
    let tag = b"train/loss";
    let first = events(&files[0]);
    assert!(first[3].windows(tag.len()).any(|window| window == tag));
}

#[test]
fn a_line_that_was_cut_off_is_left_out() {
    let output = tempfile::tempdir().unwrap();
    train(output.path(), &config(2), u64::MAX).unwrap();
    let path = output.path().join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 5]).unwrap();
    let whole = text.lines().count();
    assert_eq!(metrics::read(output.path()).unwrap().len(), whole - 1);
    drop(MetricsLog::open(output.path(), 2).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), whole - 1);
}

#[test]
fn the_picture_has_both_lines_in_both_formats() {
    let output = tempfile::tempdir().unwrap();
    train(output.path(), &TrainConfig { eval_every: Some(3), ..config(9) }, u64::MAX).unwrap();
    let svg = fs::read_to_string(output.path().join("loss.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    for word in ["train", "evaluation", "step", "loss"] {
        assert!(svg.contains(&format!(">{word}</text>")), "{word}");
    }
    let file = std::io::BufReader::new(fs::File::open(output.path().join("loss.png")).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width as usize, info.height as usize), (curve::WIDTH, curve::HEIGHT));
    let has = |color: [u8; 3]| pixels.chunks_exact(3).any(|pixel| pixel == color);
    assert!(has([255, 255, 255]) && has([31, 105, 178]) && has([217, 95, 2]) && has([60, 60, 60]));
}

#[test]
fn without_figures_there_is_no_picture() {
    let output = tempfile::tempdir().unwrap();
    curve::write(&[], output.path()).unwrap();
    assert_eq!(fs::read_dir(output.path()).unwrap().count(), 0);
}
