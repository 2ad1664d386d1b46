//! The workflow in a picture that ComfyUI made. Pure.
//!
//! PNG: text chunks `workflow` and `prompt`, which ComfyUI writes as `tEXt`; programs that rewrite pictures make them
//! `iTXt` or, compressed, `zTXt`. WebP: texts `workflow:{…}` and `prompt:{…}` among the tags of the EXIF chunk, each up
//! to a zero byte.

use super::ImportError;
use flate2::read::ZlibDecoder;
use proto::picture::{Chunk, chunks};
use std::io::Read as _;

/// The longest text that is taken out of a compressed chunk, in bytes.
const INFLATED: u64 = 16 << 20;

/// Names of what ComfyUI writes, the one that says more first.
const NAMES: [&str; 2] = ["workflow", "prompt"];

/// Returns the workflow in a picture; each character of `bytes` is one byte.
pub(super) fn workflow(bytes: &str) -> Result<String, ImportError> {
    let bytes: Option<Vec<u8>> = bytes.chars().map(|c| u8::try_from(c).ok()).collect();
    let texts = |chunk: Chunk<'_>| {
        if chunk.name == b"EXIF" { exif(chunk.data) } else { png(chunk).into_iter().collect() }
    };
    let found: Vec<(&str, String)> = match bytes.as_deref().and_then(chunks) {
        Some(chunks) => chunks.flat_map(texts).collect(),
        None => return Err(ImportError::NoPicture),
    };
    let first = NAMES.iter().find_map(|name| found.iter().find(|(found, _)| found == name));
    first.map(|(_, text)| text.clone()).ok_or(ImportError::NoWorkflow)
}

/// Reads a text chunk (PNG specification, 11.3.4).
fn png(Chunk { name: kind, data, .. }: Chunk<'_>) -> Option<(&'static str, String)> {
    let (name, rest) = split(data)?;
    let name = NAMES.into_iter().find(|known| known.as_bytes() == name)?;
    let text = match kind {
        b"tEXt" => text(rest),
        b"zTXt" => text(&inflate(rest.strip_prefix(&[0])?)?),
        b"iTXt" => {
            let (is_compressed, rest) = rest.split_first()?;
            let (_language, rest) = split(rest.get(1..)?)?;
            let (_translated, rest) = split(rest)?;
            if *is_compressed == 0 { text(rest) } else { text(&inflate(rest)?) }
        }
        _ => return None,
    };
    Some((name, text))
}

fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = data.iter().position(|byte| *byte == 0)?;
    Some((&data[..end], &data[end + 1..]))
}

fn inflate(data: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let read = ZlibDecoder::new(data).take(INFLATED).read_to_end(&mut text).ok()?;
    (u64::try_from(read).ok()? < INFLATED).then_some(text)
}

/// Reads UTF-8, or what is none as Latin-1: which of the two it is depends on who wrote it.
fn text(data: &[u8]) -> String {
    std::str::from_utf8(data)
        .map_or_else(|_| data.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
}

fn exif(data: &[u8]) -> Vec<(&'static str, String)> {
    let texts = data.split(|byte| *byte == 0);
    let named = texts.filter_map(|text| {
        let named =
            |name: &&'static str| Some((*name, text.strip_prefix(name.as_bytes())?.strip_prefix(b":")?));
        NAMES.iter().find_map(named)
    });
    named.map(|(name, rest)| (name, text(rest))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn file(head: &[u8], chunks: &[(&[u8], Vec<u8>)]) -> String {
        let mut file = head.to_vec();
        for (name, data) in chunks {
            let length = u32::try_from(data.len()).unwrap();
            if head.len() == 8 {
                file.extend([&length.to_be_bytes(), *name, data, b"csum"].concat());
            } else {
                file.extend([*name, &length.to_le_bytes(), data, &vec![0; data.len() % 2]].concat());
            }
        }
        file.into_iter().map(char::from).collect()
    }

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

    fn deflated(text: &str) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_workflow_is_found_in_every_kind_of_chunk() {
        let prompt = (&b"tEXt"[..], b"prompt\0{\"p\": 1}".to_vec());
        let plain = (&b"tEXt"[..], "workflow\0{\"é\": 1}".as_bytes().to_vec());
        let packed = (&b"zTXt"[..], [b"workflow\0\0".to_vec(), deflated("{\"z\": 1}")].concat());
        let utf8 = (&b"iTXt"[..], b"workflow\0\0\0\0\0{\"i\": 1}".to_vec());
        let both = (&b"iTXt"[..], [b"workflow\0\x01\0en\0x\0".to_vec(), deflated("{\"b\": 1}")].concat());
        let found = |chunks: &[(&[u8], Vec<u8>)]| workflow(&file(PNG, chunks)).unwrap();
        assert_eq!(found(&[prompt.clone(), plain]), "{\"é\": 1}");
        assert_eq!(found(&[prompt.clone(), packed]), "{\"z\": 1}");
        assert_eq!(found(&[utf8, prompt.clone()]), "{\"i\": 1}");
        assert_eq!(found(&[both]), "{\"b\": 1}");
        assert_eq!(found(&[prompt]), "{\"p\": 1}");
        let exif = b"Exif\0\0MM\0*prompt:{\"p\": 1}\0workflow:{\"w\": 1}\0".to_vec();
        assert_eq!(workflow(&file(b"RIFF\0\0\0\0WEBP", &[(b"EXIF", exif)])).unwrap(), "{\"w\": 1}");
    }

    #[test]
    fn a_picture_of_others_has_none() {
        assert!(matches!(workflow(&file(PNG, &[(b"IHDR", vec![1])])), Err(ImportError::NoWorkflow)));
        assert!(matches!(workflow("{}"), Err(ImportError::NoPicture)));
        assert!(matches!(workflow("\u{263a}"), Err(ImportError::NoPicture)));
        let bomb = [b"workflow\0\0".to_vec(), deflated(&" ".repeat(20 << 20))].concat();
        assert!(matches!(workflow(&file(PNG, &[(b"zTXt", bomb)])), Err(ImportError::NoWorkflow)));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(data in proptest::collection::vec(any::<u8>(), 0..64), kind in 0..4usize, named: bool) {
            let kind: &[u8] = [b"tEXt", b"zTXt", b"iTXt", b"EXIF"][kind];
            let data = if named { [b"workflow\0", &data[..]].concat() } else { data };
            workflow(&file(PNG, &[(kind, data)])).ok();
        }
    }
}
