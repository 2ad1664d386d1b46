//! Whether a file is the model it is meant to be. All of it blocks; files are read only at their start.

use proto::error::excerpt;
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::path::Path;

/// A header of more bytes than this is not believed; safetensors itself draws the line there.
const HEADER_LIMIT: u64 = 100_000_000;

/// Beginnings of what hosts send in place of a model.
const NOT_MODELS: &[(&[u8], &str)] = &[
    (b"<!doctype", "it is an HTML page"),
    (b"<html", "it is an HTML page"),
    (b"version https://git-lfs.github.com/spec/", "it is a pointer to Git LFS; use the `resolve` link"),
];

/// Checks a finished file by the name it is to have. `Ok(Err(reason))` says what is wrong with it.
pub(super) fn check(path: &Path, name: &str) -> std::io::Result<Result<u64, String>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size == 0 {
        return Ok(Err("it is empty".to_owned()));
    }
    let mut head = Vec::new();
    file.by_ref().take(64).read_to_end(&mut head)?;
    let name = name.to_ascii_lowercase();
    let is = |extension: &str| name.ends_with(extension);
    let begin = head.trim_ascii_start().to_ascii_lowercase();
    let page = NOT_MODELS.iter().find(|(start, _)| begin.starts_with(start));
    if let Some((_, reason)) = page.filter(|_| !is(".html")) {
        return Ok(Err((*reason).to_owned()));
    }
    if is(".gguf") && !head.starts_with(b"GGUF") {
        return Ok(Err("it does not begin as a GGUF file does".to_owned()));
    }
    if is(".safetensors") || is(".sft") {
        file.rewind()?;
        return Ok(safetensors(&mut file, size)?.map(|()| size));
    }
    Ok(Ok(size))
}

/// The format: a length (u64, little endian), that many bytes of JSON, then the tensors' bytes, of
/// which the JSON says where each lies.
fn safetensors(file: &mut File, size: u64) -> std::io::Result<Result<(), String>> {
    let mut length = [0; 8];
    if size < 8 {
        return Ok(Err(format!("it has {size} bytes, too few for a safetensors file")));
    }
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_LIMIT || length > size - 8 {
        return Ok(Err(format!("its safetensors header claims {length} bytes of {size}")));
    }
    Ok(tensor_bytes(BufReader::new(file.take(length))).and_then(|data| {
        let expected = data.saturating_add(8 + length);
        (expected == size)
            .then_some(())
            .ok_or_else(|| format!("it has {size} bytes, its safetensors header says {expected}"))
    }))
}

/// Returns how many bytes of tensors a safetensors header promises. Reads it once and keeps nothing: a header
/// may have 100 MB.
///
/// # Errors
/// Says what is wrong with the header, and where.
pub fn tensor_bytes(header: impl Read) -> Result<u64, String> {
    let mut json = serde_json::Deserializer::from_reader(header);
    let end = json.deserialize_map(LastByte).and_then(|end| json.end().map(|()| end));
    end.map_err(|error| {
        // The place comes last, behind a text that may hold any of the file.
        let (text, place) =
            (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
        let what = excerpt(text.strip_suffix(&place).unwrap_or(&text));
        format!("its safetensors header cannot be read: {what}{place}")
    })
}

#[derive(Deserialize)]
struct Tensor {
    data_offsets: (u64, u64),
}

/// Looks for the tensor that ends last.
struct LastByte;

impl<'de> Visitor<'de> for LastByte {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut end = 0;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                end = end.max(map.next_value::<Tensor>()?.data_offsets.1);
            }
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(vec![0; data]);
        bytes
    }

    #[test]
    fn only_whole_files_of_their_format_pass() {
        let dir = tempfile::tempdir().unwrap();
        let header = r#"{"__metadata__":{"a":"b"},"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#;
        let mut short_header = file(header, 4);
        short_header.truncate(20);
        let table: &[(&str, Vec<u8>, bool)] = &[
            ("a.safetensors", file(header, 4), true),
            ("a.sft", file(header, 4), true),
            ("a.safetensors", file(header, 3), false),
            ("a.safetensors", file(header, 5), false),
            ("a.safetensors", file("not json", 4), false),
            ("a.safetensors", file(r#"{"t":{"data_offsets":"x"}}"#, 4), false),
            ("a.safetensors", short_header, false),
            ("a.safetensors", vec![0xff; 100], false),
            ("a.safetensors", vec![1], false),
            ("a.SafeTensors", vec![1; 30], false),
            ("a.gguf", b"GGUF....".to_vec(), true),
            ("a.gguf", b"ggml....".to_vec(), false),
            ("a.pth", b"PK\x03\x04..".to_vec(), true),
            ("a.pth", b"\n <!DOCTYPE html><p>log in".to_vec(), false),
            ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid".to_vec(), false),
            ("a.pth", vec![], false),
        ];
        for (name, bytes, passes) in table {
            let path = dir.path().join("x");
            std::fs::write(&path, bytes).unwrap();
            let result = check(&path, name).unwrap();
            assert_eq!(result.is_ok(), *passes, "{name}, {} bytes: {result:?}", bytes.len());
        }
    }

    #[test]
    fn a_header_of_long_texts_is_refused_with_its_place() {
        let header = format!("\n\"{}\"", "x".repeat(300));
        let error = tensor_bytes(header.as_bytes()).unwrap_err();
        assert!(error.ends_with("… at line 2 column 302"), "{error}");
    }
}
