//! The zip of an export, written piece by piece: `<service>.json` for each service, then `manifest.json`. A zip ends with its
//! table of contents, so one that was broken off opens nowhere; and it has its manifest only when nothing is missing.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Datelike, Timelike, Utc};
use lectern_subjects::identity::Export;
use lectern_subjects::privacy::{PersonalData, Section};
use ring::digest::{Context, SHA256};
use serde_json::{Value, json};
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

/// What the format is called in the manifest; another number for one that old readers would not understand.
const FORMAT: &str = "lectern-export/1";

/// A zip that is being written. What was written so far is to be taken out after every step. Dropped before
/// [`Archive::finish`] it ends in the middle: the table of contents that `zip` then writes is taken out by nobody.
pub(super) struct Archive {
    zip: ZipWriter<StreamWriter<Written>>,
    written: Written,
    options: SimpleFileOptions,
    export: Export,
    file: File,
    /// What the manifest says of the files that are done.
    done: Vec<Value>,
}

/// The file that is being written.
struct File {
    digest: Context,
    bytes: u64,
    /// The kinds so far, each with the number of its rows.
    kinds: Vec<(String, u64)>,
    /// Whether the last kind's list is still open.
    open: bool,
}

impl File {
    fn new() -> File {
        File { digest: Context::new(&SHA256), bytes: 0, kinds: Vec::new(), open: false }
    }

    /// A page as text: one row per line, so that people can read it and compare two exports.
    fn text(&mut self, page: &PersonalData) -> serde_json::Result<String> {
        let mut text = String::new();
        for section in &page.sections {
            self.section(section, &mut text)?;
        }
        Ok(text)
    }

    fn section(&mut self, section: &Section, text: &mut String) -> serde_json::Result<()> {
        let goes_on = self.open && self.kinds.last().is_some_and(|(kind, _)| *kind == section.kind);
        if !goes_on {
            self.close(text);
            text.push_str(if self.kinds.is_empty() { "{\n" } else { ",\n" });
            text.push_str(&serde_json::to_string(&section.kind)?);
            text.push_str(if section.single { ": " } else { ": [" });
            self.kinds.push((section.kind.clone(), 0));
            self.open = !section.single;
        }
        for row in &section.rows {
            let count = self.kinds.last_mut().map(|(_, count)| count);
            if let Some(count) = count {
                if !section.single {
                    text.push_str(if *count == 0 { "\n" } else { ",\n" });
                }
                *count += 1;
            }
            text.push_str(&serde_json::to_string(row)?);
        }
        Ok(())
    }

    fn close(&mut self, text: &mut String) {
        if std::mem::take(&mut self.open) {
            text.push_str(if self.kinds.last().is_some_and(|(_, rows)| *rows > 0) { "\n]" } else { "]" });
        }
    }
}

impl Archive {
    pub fn new(export: Export) -> Archive {
        let written = Written::default();
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(moment(export.begun_at))
            .unix_permissions(0o600);
        Archive {
            zip: ZipWriter::new_stream(written.clone()),
            written,
            options,
            export,
            file: File::new(),
            done: Vec::new(),
        }
    }

    /// Begins the file of a service.
    pub fn begin(&mut self, service: &str) -> io::Result<()> {
        self.file = File::new();
        Ok(self.zip.start_file(file_name(service), self.options)?)
    }

    /// Adds a page to it.
    pub fn add(&mut self, page: &PersonalData) -> io::Result<()> {
        let text = self.file.text(page)?;
        self.put(text.as_bytes())
    }

    /// Ends it.
    pub fn end(&mut self, service: &str, now: DateTime<Utc>) -> io::Result<()> {
        let mut text = String::new();
        self.file.close(&mut text);
        text.push_str(if self.file.kinds.is_empty() { "{}\n" } else { "\n}\n" });
        self.put(text.as_bytes())?;
        let file = std::mem::replace(&mut self.file, File::new());
        let kinds: serde_json::Map<String, Value> =
            file.kinds.into_iter().map(|(kind, rows)| (kind, json!(rows))).collect();
        self.done.push(json!({
            "service": service,
            "file": file_name(service),
            "answered_at": now,
            "bytes": file.bytes,
            "sha256": hex::encode(file.digest.finish()),
            "rows": kinds,
        }));
        Ok(())
    }

    /// Adds the manifest and the table of contents; answers the last bytes.
    pub fn finish(mut self, now: DateTime<Utc>) -> io::Result<Bytes> {
        let manifest = json!({
            "format": FORMAT,
            "export_id": self.export.id,
            "user_id": self.export.user_id,
            "begun_at": self.export.begun_at,
            "finished_at": now,
            "services": self.done,
        });
        self.zip.start_file("manifest.json", self.options)?;
        self.zip.write_all(serde_json::to_string_pretty(&manifest)?.as_bytes())?;
        self.zip.write_all(b"\n")?;
        self.zip.finish()?;
        Ok(self.written.take())
    }

    /// What was written since the last time.
    pub fn take(&self) -> Bytes {
        self.written.take()
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.digest.update(text);
        self.file.bytes += text.len() as u64;
        self.zip.write_all(text)
    }
}

fn file_name(service: &str) -> String {
    format!("{service}.json")
}

/// A zip knows years from 1980 to 2107; outside of them the beginning of its time.
fn moment(at: DateTime<Utc>) -> zip::DateTime {
    #[expect(clippy::cast_possible_truncation, reason = "1 to 59")]
    let small = |number: u32| number as u8;
    u16::try_from(at.year())
        .ok()
        .and_then(|year| {
            zip::DateTime::from_date_and_time(
                year,
                small(at.month()),
                small(at.day()),
                small(at.hour()),
                small(at.minute()),
                small(at.second()),
            )
            .ok()
        })
        .unwrap_or_default()
}

/// Where the zip writes to: taken out as it grows.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use uuid::Uuid;

    use super::*;

    fn export() -> Export {
        let at = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        Export {
            id: Uuid::from_u128(1).into(),
            user_id: Uuid::from_u128(2).into(),
            begun_at: at,
            services: vec![],
        }
    }

    fn section(kind: &str, single: bool, rows: &[Value]) -> Section {
        let rows = rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
        Section { kind: kind.to_owned(), single, rows }
    }

    fn page(sections: Vec<Section>) -> PersonalData {
        PersonalData { sections, next_cursor: None }
    }

    fn read(zip: &[u8], file: &str) -> String {
        let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
        let mut text = String::new();
        archive.by_name(file).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn i108_pages_become_one_json_file_and_the_manifest_counts_and_sums_them() {
        let mut archive = Archive::new(export());
        let mut zip = Vec::new();
        archive.begin("identity").unwrap();
        let me = json!({ "email": "a@example.org", "name": "\"A\",\n[]" });
        let first = vec![
            section("personal_data", true, std::slice::from_ref(&me)),
            section("empty", false, &[]),
            section("login_history", false, &[json!({ "n": 1 }), json!({ "n": 2 })]),
        ];
        archive.add(&page(first)).unwrap();
        zip.extend(archive.take());
        archive.add(&page(vec![section("login_history", false, &[json!({ "n": 3 })])])).unwrap();
        archive.add(&page(vec![])).unwrap();
        archive.add(&page(vec![section("sessions", false, &[json!({ "sid": "x" })])])).unwrap();
        archive.end("identity", export().begun_at).unwrap();
        archive.begin("courses").unwrap();
        archive.end("courses", export().begun_at).unwrap();
        zip.extend(archive.take());
        zip.extend(archive.finish(export().begun_at).unwrap());

        let text = read(&zip, "identity.json");
        let expected = json!({
            "personal_data": me,
            "empty": [],
            "login_history": [{ "n": 1 }, { "n": 2 }, { "n": 3 }],
            "sessions": [{ "sid": "x" }],
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected, "{text}");
        assert!(text.starts_with("{\n\"personal_data\": {"), "{text}");
        assert_eq!(read(&zip, "courses.json"), "{}\n");
        let manifest: Value = serde_json::from_str(&read(&zip, "manifest.json")).unwrap();
        let identity = &manifest["services"][0];
        assert_eq!(
            identity["rows"],
            json!({ "personal_data": 1, "empty": 0, "login_history": 3, "sessions": 1 })
        );
        assert_eq!(identity["bytes"], text.len());
        let digest = ring::digest::digest(&SHA256, text.as_bytes());
        assert_eq!(identity["sha256"], hex::encode(digest));
        assert_eq!(manifest["services"][1]["service"], "courses");
    }

    #[test]
    fn i108_a_zip_that_was_broken_off_opens_nowhere() {
        let mut archive = Archive::new(export());
        let mut zip = Vec::new();
        archive.begin("identity").unwrap();
        archive.add(&page(vec![section("login_history", false, &[json!({ "n": 1 })])])).unwrap();
        archive.end("identity", export().begun_at).unwrap();
        zip.extend(archive.take());
        drop(archive);
        assert!(!zip.is_empty() && zip::ZipArchive::new(Cursor::new(&zip)).is_err());
    }
}
