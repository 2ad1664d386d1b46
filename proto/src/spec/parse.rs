//! Text → [`Spec`], or all its errors at once.
use super::{Diagnostic, Spec};
/// What reading a spec gave.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The spec; none when there are errors.
    pub spec: Option<Spec>,
    /// Everything found, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}
/// Reads a spec. `file` is shown in diagnostics; `file_id` is the file's name without `.json`.
pub fn parse(_text: &str, _file: &str, _file_id: &str) -> Parsed {
    Parsed { spec: None, diagnostics: Vec::new() }
}
