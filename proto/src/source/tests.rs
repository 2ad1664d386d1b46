use super::*;

fn canonical_of(text: &str) -> String {
    match ModelSource::parse(text) {
        Ok(source) => source.as_str().to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn spellings_of_one_file_have_one_canonical_form() {
    let table = [
        ("hf://o/r/a/b.safetensors", "hf://o/r/a/b.safetensors"),
        ("HF://o/r/b.bin", "hf://o/r/b.bin"),
        ("hf://models/o/r/b.bin", "hf://o/r/b.bin"),
        ("hf://o/r@main/b.bin", "hf://o/r/b.bin"),
        ("hf://o/r/b.bin?rev=v2", "hf://o/r@v2/b.bin"),
        ("hf://o/r@v2/b.bin?revision=v2", "hf://o/r@v2/b.bin"),
        ("hf://o/r/b.bin?download=true", "hf://o/r/b.bin"),
        ("hf://o/r@refs/pr/3/b.bin", "hf://o/r@refs%2Fpr%2F3/b.bin"),
        ("hf://o/r@refs%2Fpr%2F3/b.bin", "hf://o/r@refs%2Fpr%2F3/b.bin"),
        ("hf://datasets/o/r/b.bin", "hf://datasets/o/r/b.bin"),
        ("hf://o/r/a%20b%5B1%5D.bin", "hf://o/r/a%20b%5B1%5D.bin"),
        ("hf://o/r/100%25.bin", "hf://o/r/100%25.bin"),
        ("hf://o/r/100%.bin", "hf://o/r/100%25.bin"),
        ("hf://o/r/a#b@c.bin", "hf://o/r/a%23b@c.bin"),
        ("hf://o/r/%6D.bin", "hf://o/r/m.bin"),
        ("https://huggingface.co/o/r/blob/main/b.bin", "hf://o/r/b.bin"),
        ("https://huggingface.co/o/r/resolve/main/a%20b.bin#x", "hf://o/r/a%20b.bin"),
        ("https://huggingface.co/o/r/resolve/refs%2Fpr%2F3/b.bin", "hf://o/r@refs%2Fpr%2F3/b.bin"),
        ("https://huggingface.co/o/r/resolve/refs/pr/3/b.bin", "hf://o/r@refs%2Fpr%2F3/b.bin"),
        ("https://huggingface.co/datasets/o/r/resolve/main/b.bin", "hf://datasets/o/r/b.bin"),
        ("https://hf.co/o/r/resolve/abc/d/b.bin?download=true", "hf://o/r@abc/d/b.bin"),
        ("https://huggingface.co:8443/o/r/resolve/main/b", "https://huggingface.co:8443/o/r/resolve/main/b"),
        ("civitai://models/123", "civitai://models/123"),
        ("civitai://models/0123/", "civitai://models/123"),
        (
            "civitai://api/download/models/9?type=Model&format=SafeTensor",
            "civitai://api/download/models/9?type=Model&format=SafeTensor",
        ),
        ("civitai://models/9?fileId=7", "civitai://api/download/models/9?fileId=7"),
        ("https://civitai.com/api/download/models/9", "civitai://models/9"),
        ("https://civitai.red/api/download/models/9?fileId=7", "civitai://api/download/models/9?fileId=7"),
        ("https://civitai.com/models/1?modelVersionId=9", "civitai://models/9"),
        ("urn:air:sdxl:lora:civitai:12345@67890", "civitai://models/67890"),
        ("URN:AIR:sdxl:lora:civitai:12345@67890+7", "civitai://api/download/models/67890?fileId=7"),
        ("urn:air:flux1:unet:huggingface:o/r/d/x.safetensors@v2", "hf://o/r@v2/d/x.safetensors"),
        ("urn:air:flux1:unet:huggingface:o/r/x.gguf", "hf://o/r/x.gguf"),
        ("s3://bucket/a/b%20c.bin", "s3://bucket/a/b%20c.bin"),
        ("S3://bucket/a#b.bin", "s3://bucket/a%23b.bin"),
        ("s3://bucket/what%3F.bin", "s3://bucket/what%3F.bin"),
        ("gs://my_bucket.example/x.bin", "gs://my_bucket.example/x.bin"),
        ("/data/x.pth", "file:///data/x.pth"),
        ("/data//./x.pth", "file:///data/x.pth"),
        ("/data/x y.pth", "file:///data/x%20y.pth"),
        ("/data/x%20y.pth", "file:///data/x%2520y.pth"),
        ("file:///data/x%20y.pth", "file:///data/x%20y.pth"),
        ("file://localhost/data/x.pth", "file:///data/x.pth"),
        ("https://example.org/x.pth?v=1", "https://example.org/x.pth?v=1"),
        ("HTTPS://EXAMPLE.org:443/x.pth#part", "https://example.org/x.pth"),
    ];
    for (given, expected) in table {
        assert_eq!(canonical_of(given), expected, "{given}");
        assert_eq!(canonical_of(expected), expected, "the canonical form of {given} is not stable");
    }
}

#[test]
fn links_that_cannot_work_say_what_to_write() {
    for bad in [
        "",
        "x.safetensors",
        "loras/x.safetensors",
        "hf://o/r",
        "hf://o/r/",
        "hf://o//x",
        "hf://o/r@/x",
        "hf://o/r@a b/x",
        "hf://o/r@-x/x",
        "hf://o/r@v1/x?rev=v2",
        "hf://../r/x",
        "hf://o/r%2F..%2F/x",
        "hf://o/r/*.safetensors",
        "hf://o/r/x?.safetensors",
        "hf://o/r/[ab].safetensors",
        "hf://o/r/../x",
        "hf://o/r/%2E%2E/x",
        "hf://o/r/a%0Ab",
        "hf://o/r/a%00b",
        "hf://o/r/%FF",
        "hf://o/r/a b",
        "civitai://models/x",
        "civitai://models/+5",
        "civitai://models/",
        "civitai://5",
        "civitai://models/99999999999999999999",
        "civitai://models/1?token=abc",
        "civitai://models/1?TOKEN=abc",
        "civitai://models/1?%74oken=abc",
        "https://civitai.com/api/download/models/1?token=abc",
        "https://u:p@example.org/x",
        "https://u@example.org/x",
        "https://civitai.com/models/1",
        "https://huggingface.co/o/r",
        "https://huggingface.co/o/r/tree/main/x",
        "file://relative",
        "file:///a%00b",
        "/",
        "/a/",
        "/a/../b",
        "/a\nb",
        "https://exa mple.org/",
        "https://",
    ] {
        assert_refused(bad);
    }
}

fn assert_refused(bad: &str) {
    assert!(ModelSource::parse(bad).is_err_and(|e| !e.hint.is_empty()), "{bad}");
}

#[test]
fn links_into_buckets_and_airs_that_cannot_work() {
    for bad in [
        "s3://b/k",
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/dir/",
        "s3://bucket//x",
        "s3://bucket/a/../x",
        "s3://bucket/a/%2E%2E/x",
        "s3://bucket/*.safetensors",
        "s3://bucket/x?versionId=1",
        "s3://bucket/x%00",
        "s3://-bucket/x",
        "s3://buc ket/x",
        "gs://b/k",
        "az://bucket/x",
        "urn:air:",
        "urn:air:sdxl:lora:civitai:12345",
        "urn:air:sdxl:lora:civitai:12345@",
        "urn:air:sdxl:lora:civitai:12345@x",
        "urn:air:sdxl:lora:civitai:12345@67890+",
        "urn:air:sdxl:lora:civitai:12345@67890+x",
        "urn:air:sdxl:lora:civitai:12345@67890.safetensors",
        "urn:air:sdxl:lora:orchestrator:x@1",
        "urn:air:qwen3:repository:huggingface:Org/Repo@main.tar",
        "urn:isbn:1",
    ] {
        assert_refused(bad);
    }
}

#[test]
fn a_signature_is_used_for_fetching_and_nowhere_else() {
    let link = "https://b.s3.amazonaws.com/k.bin?versionId=7&X-Amz-Expires=60&X-Amz-Signature=s3cr3t&X-Amz-Credential=AKIA&tok%65n=s3cr3t";
    let source = ModelSource::parse(link).unwrap();
    assert!(source.as_str().contains("s3cr3t"));
    let shown = "https://b.s3.amazonaws.com/k.bin?versionId=7";
    assert_eq!(source.to_string(), shown);
    assert_eq!(format!("{source:?}"), format!("ModelSource({shown})"));
    assert_eq!(serde_json::to_value(&source).unwrap(), shown);
    assert_eq!(source.without_secrets(), ModelSource::parse(shown).unwrap());
}

#[test]
fn every_store_has_its_own_signatures() {
    let table = [
        ("X-Goog-Algorithm=A&X-Goog-Credential=s3cr3t&X-Goog-Date=D&X-Goog-Signature=s3cr3t", ""),
        ("AWSAccessKeyId=s3cr3t&Signature=s3cr3t&Expires=1700000000&v=1", "?v=1"),
        ("GoogleAccessId=s3cr3t&Expires=1700000000&Signature=s3cr3t", ""),
        ("Expires=1700000000&Signature=s3cr3t&Key-Pair-Id=s3cr3t&Policy=s3cr3t", ""),
        ("OSSAccessKeyId=s3cr3t&Expires=1&Signature=s3cr3t", ""),
        ("sv=2024-01-01&st=s&se=e&sr=b&sp=r&sig=s3cr3t&snapshot=1", "?snapshot=1"),
        ("Authorization=s3cr3t", ""),
        ("token=s3cr3t", ""),
        ("sp=1&expires=2&v=3", "?sp=1&expires=2&v=3"),
    ];
    for (query, shown) in table {
        let source = ModelSource::parse(&format!("https://h.example/k.bin?{query}")).unwrap();
        assert_eq!(source.to_string(), format!("https://h.example/k.bin{shown}"), "{query}");
        assert!(source.as_str().ends_with(query), "{query}");
    }
}

#[test]
fn errors_hold_no_secret() {
    for link in [
        "civitai.com/api/download/models/1?token=s3cr3t",
        "u:s3cr3t@example.org/x",
        "https://u:s3cr3t@example.org/x",
        "https://s3cr3t@exa mple.org/x",
        "https://huggingface.co/o/r?token=s3cr3t",
        "https://civitai.com/models/1?token=s3cr3t",
        "civitai://s3cr3t@models/1",
        "civitai://models/1?token=s3cr3t",
        "hf://u:s3cr3t@huggingface.co/x",
        "s3://key:s3cr3t@bucket/k",
        "s3://bucket/k?X-Amz-Signature=s3cr3t",
    ] {
        let error = ModelSource::parse(link).unwrap_err();
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    }
}

#[test]
fn file_names_are_decoded_once() {
    let table = [
        ("hf://o/r/a/b%20c.bin", Some("b c.bin")),
        ("hf://o/r/100%2525.bin", Some("100%25.bin")),
        ("https://example.org/a/b%20c.bin?x=1", Some("b c.bin")),
        ("https://example.org/a%2Fb.bin", Some("b.bin")),
        ("https://example.org/", None),
        ("s3://bucket/a/b%20c.bin", Some("b c.bin")),
        ("gs://bucket/b.bin", Some("b.bin")),
        ("/data/x%20y.pth", Some("x%20y.pth")),
        ("civitai://models/1", None),
    ];
    for (link, name) in table {
        assert_eq!(ModelSource::parse(link).unwrap().file_name().as_deref(), name, "{link}");
    }
}
