use super::*;
use crate::raw::{get, header, status};
use std::time::{Duration, Instant};

#[test]
fn parts_and_faults_of_parts() {
    let server = FileServer::start();
    let content = Content::synthetic(1, 9_000_000);
    let all = content.to_vec();
    server.put("/a", content);
    let url = server.url("/a");
    let range = "Range: bytes=8388000-8389999\r\n";
    let (head, body) = get(&url, range);
    assert!(head.starts_with("HTTP/1.1 206") && head.contains("bytes 8388000-8389999/9000000"), "{head}");
    assert!(body == all[8_388_000..8_390_000]);
    assert_eq!(server.sent("/a"), 2000);
    let table = [
        (Fault::CutAfter(7), "bytes 8388000-8389999/9000000", 7),
        (Fault::Half, "bytes 8388000-8388999/9000000", 1000),
        (Fault::OtherStart, "bytes 8388001-8389999/9000000", 1999),
        (Fault::OtherTotal, "bytes 8388000-8389999/9000001", 2000),
        (Fault::Whole, "200 OK", 9_000_000),
        (Fault::LengthOff(-1), "content-length: 1999", 1999),
        (Fault::LengthOff(1), "content-length: 2001", 2000),
        (Fault::Gzip, "content-encoding: gzip", 0),
    ];
    for (fault, says, length) in table {
        server.faults("/a", [fault.clone()]);
        let (head, body) = get(&url, range);
        assert!(head.contains(says), "{fault:?}: {head}");
        assert!(length == 0 || body.len() == length, "{fault:?}: {}", body.len());
    }
    let (head, body) = get(&url, &format!("{range}If-Range: \"other\"\r\n"));
    assert!(head.starts_with("HTTP/1.1 200") && body.len() == all.len(), "{head}");
    server.faults("/a", [Fault::ChangeAfter(10, "new".into())]);
    assert_eq!(get(&url, range).1.len(), 10);
    assert_eq!(get(&url, "").1, b"new");
}

#[test]
fn a_signature_counts_as_long_as_it_should() {
    let server = FileServer::start();
    server.put("/stored", "0123456789");
    server.signed("/stored", Life::Bytes(15), Expired::Forbidden);
    server.always("/a", Fault::RedirectSigned("/stored".to_owned()));
    let location = || header(&get(&server.url("/a"), "").0, "location").unwrap();
    let first = location();
    assert!(first.starts_with("http://localhost:"), "{first}");
    assert_eq!(status(&first, "Authorization: Bearer x\r\n"), 400);
    assert_eq!([status(&first, ""), status(&first, ""), status(&first, "")], [200, 200, 403]);
    assert_eq!(status(&location(), ""), 200);
    assert_eq!(status(&server.url("/stored"), ""), 403);
}

#[test]
fn each_connection_has_its_pace_and_so_have_all_together() {
    let server = FileServer::start();
    server.put("/a", vec![0; 200_000]);
    let took = |connections: usize| {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| assert_eq!(get(&server.url("/a"), "").1.len(), 200_000));
            }
        });
        started.elapsed()
    };
    server.pace(Pace { per_connection: Some(1_000_000), ..Pace::default() });
    let (one, four) = (took(1), took(4));
    assert!(one > Duration::from_millis(150) && four < 3 * one, "{one:?} {four:?}");
    server.pace(Pace { total: Some(2_000_000), ..Pace::default() });
    assert!(took(4) > Duration::from_millis(350));
    assert_eq!(server.peak_connections(), 4);
}
