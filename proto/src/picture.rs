//! Pictures without their pixels: the part of a PNG or WebP file that may hold a workflow.
//!
//! Both formats are a head and chunks. The client drops the chunks of pixels, so that the rest fits into a
//! message; the daemon walks over what is left. Whole files are walked over just as well.

/// How a PNG file begins (PNG specification, 5.2).
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Chunks of pixels: of PNG, of animated PNG, and of WebP.
const PIXELS: [&[u8]; 6] = [b"IDAT", b"fdAT", b"VP8 ", b"VP8L", b"ANMF", b"ALPH"];

/// Returns whether a file begins as a PNG or WebP file does.
pub fn is_picture(head: &[u8]) -> bool {
    layout(head).is_some()
}

/// Returns a picture without the chunks of its pixels, which may be cut off anywhere; none when it is no picture.
pub fn without_pixels(file: &[u8]) -> Option<Vec<u8>> {
    let layout = layout(file)?;
    let mut left = file[..layout.head].to_vec();
    let chunks = Chunks { rest: &file[layout.head..], layout };
    let kept = chunks.filter(|chunk| !PIXELS.contains(&chunk.name));
    kept.for_each(|chunk| left.extend_from_slice(chunk.whole));
    Some(left)
}

/// Returns the chunks of a picture, up to the first that is cut off; none when it is no picture.
pub fn chunks(file: &[u8]) -> Option<impl Iterator<Item = Chunk<'_>>> {
    let layout = layout(file)?;
    Some(Chunks { rest: &file[layout.head..], layout })
}

/// A chunk of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Its name, of four letters.
    pub name: &'a [u8],
    /// What it holds.
    pub data: &'a [u8],
    whole: &'a [u8],
}

/// How chunks lie in a file.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Bytes before the first chunk.
    head: usize,
    is_png: bool,
}

fn layout(file: &[u8]) -> Option<Layout> {
    if file.starts_with(PNG) {
        return Some(Layout { head: PNG.len(), is_png: true });
    }
    // RIFF, a length, WEBP (RFC 9649, 2.4).
    let is_webp = file.len() >= 12 && file.starts_with(b"RIFF") && file[8..12] == *b"WEBP";
    is_webp.then_some(Layout { head: 12, is_png: false })
}

struct Chunks<'a> {
    rest: &'a [u8],
    layout: Layout,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let (first, _) = self.rest.split_first_chunk::<4>()?;
        let second = self.rest.get(4..8)?;
        // PNG: length, name, data, checksum. RIFF: name, length, data, a byte to make it even.
        let (name, length, after) = if self.layout.is_png {
            (second, u32::from_be_bytes(*first), 4)
        } else {
            let length = u32::from_le_bytes(second.try_into().ok()?);
            (&self.rest[..4], length, length % 2)
        };
        let (length, after) = (usize::try_from(length).ok()?, usize::try_from(after).ok()?);
        let data = self.rest.get(8..length.checked_add(8)?)?;
        // The last chunk may lack what comes after it.
        let end = (8 + length).checked_add(after)?.min(self.rest.len());
        let (whole, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Chunk { name, data, whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn png(chunks: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut file = PNG.to_vec();
        for (name, data) in chunks {
            file.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            file.extend([*name, *data, b"csum"].concat());
        }
        file
    }

    fn webp(chunks: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
        for (name, data) in chunks {
            file.extend_from_slice(name);
            file.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            file.extend_from_slice(data);
            file.extend(std::iter::repeat_n(0, data.len() % 2));
        }
        file
    }

    #[test]
    fn pixels_go_and_the_rest_stays() {
        let with: &[(&[u8], &[u8])] =
            &[(b"IHDR", b"1"), (b"tEXt", b"a\0b"), (b"IDAT", b"xyz"), (b"IEND", b"")];
        let without: &[(&[u8], &[u8])] = &[(b"IHDR", b"1"), (b"tEXt", b"a\0b"), (b"IEND", b"")];
        assert_eq!(without_pixels(&png(with)), Some(png(without)));
        let with: &[(&[u8], &[u8])] = &[(b"VP8X", b"123"), (b"VP8 ", b"xyz"), (b"EXIF", b"abc")];
        let without: &[(&[u8], &[u8])] = &[(b"VP8X", b"123"), (b"EXIF", b"abc")];
        assert_eq!(without_pixels(&webp(with)), Some(webp(without)));
        assert_eq!(without_pixels(b"{\"nodes\": []}"), None);
        assert!(!is_picture(b""));
    }

    #[test]
    fn a_file_that_ends_early_gives_what_is_whole() {
        let whole = png(&[(b"tEXt", b"abc"), (b"iTXt", b"def")]);
        for end in 8..whole.len() {
            let names: Vec<_> = chunks(&whole[..end]).unwrap().map(|chunk| chunk.data).collect();
            assert!(names.iter().zip([b"abc", b"def"]).all(|(data, expected)| data == expected), "{end}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0..3usize) {
            let head: &[u8] = [b"", PNG, b"RIFF\0\0\0\0WEBP"][which];
            let file = [head, &bytes].concat();
            without_pixels(&file);
            chunks(&file).into_iter().flatten().for_each(drop);
        }
    }
}
