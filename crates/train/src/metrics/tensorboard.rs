//! `TensorBoard`'s event files, by hand.
//!
//! A file is a row of `TFRecord`s: the length (u64), its checksum (u32), the bytes, their checksum (u32), little-endian. A
//! checksum is CRC-32C, rotated right by 15 and moved by a constant. The bytes are a protocol buffer `tensorflow.Event`:
//! `wall_time = 1` (double), `step = 2` (int64), then one of `file_version = 3` (string), `summary = 5`, `session_log = 7`. A
//! summary is a list `value = 1` of `tag = 1` (string) and `simple_value = 2` (float).

use super::MetricsError;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes scalars to an event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// A new event file in `folder` for a run that goes on after `step` steps: what earlier files say beyond is void.
    ///
    /// # Errors
    /// [`MetricsError`] when the system refuses.
    pub fn create(folder: &Path, step: u64) -> Result<Self, MetricsError> {
        fs::create_dir_all(folder).map_err(MetricsError::at(folder))?;
        // Readers take files in the order of their names, so a later process's file has to have a later name.
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.{rest:09}.qtuner"));
        let file = File::create(&path).map_err(MetricsError::at(&path))?;
        let mut writer = Self { path, file };
        let mut version = Message::event(None);
        version.text(3, "brain.Event:2");
        writer.write(&version)?;
        let mut start = Message::default();
        start.integer(1, 1);
        let mut restart = Message::event(Some(step + 1));
        restart.message(7, &start);
        writer.write(&restart)?;
        Ok(writer)
    }

    /// Notes scalars of a step.
    ///
    /// # Errors
    /// [`MetricsError`] when the system refuses.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<(), MetricsError> {
        let mut summary = Message::default();
        for (tag, scalar) in scalars {
            let mut value = Message::default();
            value.text(1, tag);
            #[allow(clippy::cast_possible_truncation, reason = "TensorBoard's scalars are f32")]
            value.float(2, *scalar as f32);
            summary.message(1, &value);
        }
        let mut event = Message::event(Some(step));
        event.message(5, &summary);
        self.write(&event)
    }

    fn write(&mut self, event: &Message) -> Result<(), MetricsError> {
        self.file.write_all(&record(&event.0)).map_err(MetricsError::at(&self.path))
    }
}

/// A `TFRecord` of `bytes`.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), bytes, &checksum(bytes)].concat()
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes()
}

/// A protocol buffer message that grows field by field.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn event(step: Option<u64>) -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        let mut event = Self::default();
        event.key(1, 1);
        event.0.extend(seconds.to_le_bytes());
        if let Some(step) = step {
            event.integer(2, step);
        }
        event
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// A field's number and its wire type: 0 a varint, 1 eight bytes, 2 bytes with their length, 5 four bytes.
    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_masked_crc32c() {
        // CRC-32C of "123456789" is the check value of its definition.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
        let masked = 0xE306_9283_u32.rotate_right(15).wrapping_add(0xA282_EAD8);
        assert_eq!(checksum(b"123456789"), masked.to_le_bytes());
    }

    #[test]
    fn a_summary_has_the_bytes_of_its_protocol_buffer() {
        let mut value = Message::default();
        value.text(1, "loss");
        value.float(2, 1.0);
        let mut summary = Message::default();
        summary.message(1, &value);
        assert_eq!(summary.0, b"\x0a\x0b\x0a\x04loss\x15\x00\x00\x80\x3f");
        let mut step = Message::default();
        step.integer(2, 300);
        assert_eq!(step.0, [0x10, 0xAC, 0x02]);
    }

    #[test]
    fn a_record_is_as_long_as_its_parts() {
        let bytes = record(b"abc");
        assert_eq!(bytes.len(), 8 + 4 + 3 + 4);
        assert_eq!(bytes[..8], 3u64.to_le_bytes());
        assert_eq!(bytes[12..15], *b"abc");
    }
}
