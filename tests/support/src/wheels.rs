//! Tiny wheels, and a package index that serves them: real uv, no network.

use crate::serve::{Serving, serve};
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A pure Python wheel with one module that knows its version.
#[derive(Debug, Clone)]
pub struct Wheel {
    name: String,
    version: String,
    requires: Vec<String>,
    files: Vec<(String, String)>,
}

impl Wheel {
    /// Returns a wheel whose only module, named like it, sets `version`.
    pub fn new(name: &str, version: &str) -> Self {
        let module = format!("{}/__init__.py", name.replace('-', "_"));
        let files = vec![(module, format!("version = '{version}'\n"))];
        Self { name: name.into(), version: version.into(), requires: Vec::new(), files }
    }

    /// Adds a dependency, as in `Requires-Dist`.
    #[must_use]
    pub fn requires(mut self, requirement: &str) -> Self {
        self.requires.push(requirement.into());
        self
    }

    /// Adds or replaces a file, by its path in site-packages.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.retain(|(other, _)| other != path);
        self.files.push((path.into(), text.into()));
        self
    }

    /// Adds a command line program that calls `function` of the module.
    #[must_use]
    pub fn script(self, command: &str, function: &str) -> Self {
        let path = format!("{}/entry_points.txt", self.dist_info());
        let module = self.name.replace('-', "_");
        self.file(&path, &format!("[console_scripts]\n{command} = {module}:{function}\n"))
    }

    /// Returns its file name.
    pub fn file_name(&self) -> String {
        format!("{}-{}-py3-none-any.whl", self.name.replace('-', "_"), self.version)
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let dist_info = self.dist_info();
        let mut metadata = vec![
            "Metadata-Version: 2.1".to_owned(),
            format!("Name: {}", self.name),
            format!("Version: {}", self.version),
        ];
        metadata.extend(self.requires.iter().map(|requirement| format!("Requires-Dist: {requirement}")));
        let tags = "Wheel-Version: 1.0\nGenerator: support\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        let mut files = self.files.clone();
        files.push((format!("{dist_info}/METADATA"), metadata.join("\n") + "\n"));
        files.push((format!("{dist_info}/WHEEL"), tags.to_owned()));
        let mut record: Vec<String> =
            files.iter().map(|(path, text)| format!("{path},,{}", text.len())).collect();
        record.push(format!("{dist_info}/RECORD,,"));
        files.push((format!("{dist_info}/RECORD"), record.join("\n") + "\n"));
        zip_of(&files).expect("writing to memory does not fail")
    }

    /// Writes it into a directory, such as one for `--find-links`, and returns its path.
    pub fn write_to(&self, dir: &Path) -> PathBuf {
        let path = dir.join(self.file_name());
        std::fs::write(&path, self.bytes()).expect("the test's directory is writable");
        path
    }

    fn dist_info(&self) -> String {
        format!("{}-{}.dist-info", self.name.replace('-', "_"), self.version)
    }
}

fn zip_of(files: &[(String, String)]) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (path, text) in files {
        archive.start_file(path.as_str(), stored)?;
        archive.write_all(text.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

/// A package index on a port of its own (the JSON form of the simple API). It ends with this value.
#[derive(Debug)]
pub struct SimpleIndex {
    url: String,
    shelf: Arc<Mutex<Shelf>>,
    _server: Serving,
}

#[derive(Debug, Default)]
struct Shelf {
    files: Vec<File>,
    requests: Vec<String>,
}

#[derive(Debug, Clone)]
struct File {
    project: String,
    name: String,
    bytes: Vec<u8>,
    uploaded: Option<String>,
}

impl SimpleIndex {
    /// Starts an index that holds `pip` and nothing else.
    pub fn start() -> Self {
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let routes = axum::Router::new()
            .route("/simple/{project}/", axum::routing::get(project))
            .route("/files/{name}", axum::routing::get(file))
            .with_state(Arc::clone(&shelf));
        let server = serve(routes);
        let url = format!("http://{}", server.address);
        let index = Self { url, shelf, _server: server };
        index.add(&Wheel::new("pip", "25.0"), Some("2020-01-01T00:00:00Z"));
        index
    }

    /// Returns the address for `UV_DEFAULT_INDEX`.
    pub fn url(&self) -> String {
        format!("{}/simple/", self.url)
    }

    /// Returns the link of a wheel.
    pub fn link(&self, wheel: &Wheel) -> String {
        format!("{}/files/{}", self.url, wheel.file_name())
    }

    /// Adds a wheel, with the moment of its upload where the index is to tell one.
    pub fn add(&self, wheel: &Wheel, uploaded: Option<&str>) {
        let file = File {
            project: wheel.name.clone(),
            name: wheel.file_name(),
            bytes: wheel.bytes(),
            uploaded: uploaded.map(str::to_owned),
        };
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).files.push(file);
    }

    /// Makes the index forget all moments of upload.
    pub fn forget_dates(&self) {
        for file in &mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner).files {
            file.uploaded = None;
        }
    }

    /// Returns how many requests it has answered.
    pub fn requests(&self) -> usize {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).requests.len()
    }

    /// Returns how often a wheel was downloaded.
    pub fn downloads(&self, wheel: &Wheel) -> usize {
        let name = wheel.file_name();
        let asked = &self.shelf.lock().unwrap_or_else(PoisonError::into_inner).requests;
        asked.iter().filter(|file| **file == name).count()
    }
}

type Shared = State<Arc<Mutex<Shelf>>>;

async fn project(State(shelf): Shared, UrlPath(project): UrlPath<String>) -> Response {
    let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    shelf.requests.push(project.clone());
    let files: Vec<_> = shelf.files.iter().filter(|file| file.project == project).map(described).collect();
    if files.is_empty() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let page = json!({ "meta": { "api-version": "1.1" }, "name": project, "files": files });
    let kind = "application/vnd.pypi.simple.v1+json";
    // uv keeps pages for ten minutes otherwise, and a test that adds a wheel means it to be seen.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], page.to_string()).into_response()
}

fn described(file: &File) -> serde_json::Value {
    let digest = Sha256::digest(&file.bytes);
    let hex = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let mut described = json!({
        "filename": file.name,
        "url": format!("/files/{}", file.name),
        "hashes": { "sha256": hex },
        "size": file.bytes.len(),
    });
    if let Some(uploaded) = &file.uploaded {
        described["upload-time"] = json!(uploaded);
    }
    described
}

async fn file(State(shelf): Shared, UrlPath(name): UrlPath<String>) -> Response {
    let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    shelf.requests.push(name.clone());
    match shelf.files.iter().find(|file| file.name == name) {
        Some(file) => file.bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
