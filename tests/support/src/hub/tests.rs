use super::*;
use crate::raw::{get, header, status};

#[test]
fn a_big_file_is_redirected_and_a_small_one_too() {
    let hub = Hub::start();
    hub.put("o/r", "a.safetensors", "big");
    hub.put_small("o/r", "dir/config.json", "{}");
    let resolve = |path: &str| get(&format!("{}/o/r/resolve/main/{path}", hub.endpoint()), "").0;
    let head = resolve("a.safetensors");
    assert!(head.starts_with("HTTP/1.1 302"), "{head}");
    let value = |name| header(&head, name).unwrap();
    assert_eq!(value("x-linked-etag"), format!("\"{}\"", Content::from("big").sha256()));
    assert_eq!((value("x-linked-size"), value("x-repo-commit")), ("3".to_owned(), hub.commit("o/r")));
    let (stored, body) = get(&value("location"), "");
    assert_eq!(body, b"big");
    assert_ne!(header(&stored, "etag"), Some(value("x-linked-etag")), "the storage has its own");
    assert_eq!(status(&value("location"), "Authorization: Bearer x\r\n"), 400);

    let head = resolve("dir/config.json");
    // `printf {} | git hash-object --stdin`
    let blob = "\"9e26dfeeb6e641a33dae4961196235bdb965b21b\"";
    assert_eq!(header(&head, "etag").as_deref(), Some(blob));
    let to = header(&head, "location").unwrap();
    assert!(to.starts_with("/api/resolve-cache/models/o/r/"), "{to}");
    let (_, body) = get(&format!("{}{to}", hub.endpoint()), "");
    assert_eq!(body, b"2\r\n{}\r\n0\r\n\r\n", "in chunks");
}

#[test]
fn refusals_have_their_codes() {
    let hub = Hub::start();
    for repo in ["o/open", "o/gated", "o/private", "o/gone"] {
        hub.put(repo, "a", "a");
    }
    hub.access("o/gated", Access::Gated(vec!["good".to_owned()]));
    hub.access("o/private", Access::Private(vec!["good".to_owned()]));
    hub.access("o/gone", Access::Disabled);
    hub.tokens(&["good", "other"]);
    let table = [
        ("o/none/resolve/main/a", "", 401, "RepoNotFound"),
        ("o/open/resolve/v9/a", "", 404, "RevisionNotFound"),
        ("o/open/resolve/main/b", "", 404, "EntryNotFound"),
        ("o/gated/resolve/main/a", "", 401, "GatedRepo"),
        ("o/gated/resolve/main/a", "other", 403, "GatedRepo"),
        ("o/gated/resolve/main/a", "good", 302, ""),
        ("o/private/resolve/main/a", "other", 404, "RepoNotFound"),
        ("o/gone/resolve/main/a", "", 403, ""),
        ("o/open/resolve/main/a", "bad", 401, ""),
    ];
    for (path, token, status, code) in table {
        let token = format!("Authorization: Bearer {token}\r\n");
        let headers = if token.contains("Bearer \r") { "" } else { &token };
        let (head, _) = get(&format!("{}/{path}", hub.endpoint()), headers);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {token}: {head}");
        assert_eq!(header(&head, "x-error-code").unwrap_or_default(), code, "{path} {token}");
    }
    hub.rate_limit(1, 7);
    let url = format!("{}/o/open/resolve/main/a", hub.endpoint());
    assert_eq!(header(&get(&url, "").0, "ratelimit").as_deref(), Some("\"resolvers\";r=0;t=7"));
    assert_eq!(status(&url, ""), 302);
}
