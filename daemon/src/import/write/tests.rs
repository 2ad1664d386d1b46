use super::*;
use crate::import::found::FoundRepo;
use proptest::prelude::*;

fn id() -> VersionId {
    VersionId::new("v").unwrap()
}

fn node(url: &str, dir: Option<&str>) -> FoundNode {
    let repo = FoundRepo { url: Some(url.to_owned()), revision: Revision::Unknown };
    FoundNode { name: url.to_owned(), repo, dir: dir.map(str::to_owned), ..FoundNode::default() }
}

fn model(folder: Option<&str>, name: &str, link: Option<&str>) -> FoundModel {
    let (folder, link) = (folder.map(str::to_owned), link.map(str::to_owned));
    FoundModel { name: name.to_owned(), folder, link, ..FoundModel::default() }
}

fn written(nodes: Vec<FoundNode>, models: Vec<FoundModel>) -> Written {
    write(Found { nodes, models, ..Found::default() }, &id()).unwrap()
}

#[test]
fn a_spec_of_nothing_is_comfyui_alone() {
    let Written { text, spec, unknown, .. } = written(vec![], vec![]);
    assert_eq!(
        text,
        format!("{{\n  \"schema_version\": 2,\n  \"comfy\": {{\n    \"repo\": \"{COMFYUI}\"\n  }}\n}}\n")
    );
    assert!(spec.custom_nodes.is_empty() && unknown.is_empty());
}

#[test]
fn addresses_become_those_that_git_takes() {
    let table = [
        ("https://github.com/o/r/", "https://github.com/o/r", false),
        ("https://github.com/o/r/tree/main/sub", "https://github.com/o/r", false),
        ("git+https://h/o/r.git", "https://h/o/r.git", false),
        ("https://u:s3cr3t@h/o/r?x=1#y", "https://h/o/r", true),
        ("https://s3cr3t@github.com/o/r", "https://github.com/o/r", true),
        ("git@github.com:o/r.git", "git@github.com:o/r.git", false),
        ("ssh://git@h/o/r", "ssh://git@h/o/r", false),
        ("/srv/r", "/srv/r", false),
    ];
    for (given, expected, login) in table {
        assert_eq!(repository(given), (expected.to_owned(), login), "{given}");
    }
}

#[test]
fn one_repository_is_one_node_unless_it_is_installed_twice() {
    let nodes = vec![
        node("https://github.com/o/Pack.git", None),
        node("https://github.com/o/pack", None),
        node("https://h/o/two", Some("two")),
        node("https://h/o/two", Some("copy")),
    ];
    let spec = written(nodes, vec![]).spec;
    let dirs: Vec<_> = spec.custom_nodes.iter().map(|node| node.dir.as_str()).collect();
    assert_eq!(dirs, ["Pack", "two", "copy"]);
}

#[test]
fn what_the_spec_refuses_is_told_and_left_out() {
    let nodes =
        vec![node("https://h/o/a", None), node("ext::sh -c x", None), node("https://other/o/a", None)];
    let models = vec![
        model(Some("loras"), "a.safetensors", Some("https://h/a.safetensors?token=s3cr3t")),
        model(Some("loras"), "../../b.pth", Some("https://h/b.pth")),
        model(Some("loras"), "c.pth", None),
        model(None, "d.pth", Some("https://h/d.pth")),
        model(Some("loras"), "e.pth", Some("javascript:1")),
        model(Some("loras"), "a.safetensors", Some("https://h/again.safetensors")),
    ];
    let Written { text, spec, unknown, .. } = written(nodes, models);
    assert!(!text.contains("s3cr3t") && !text.contains(".."), "{text}");
    assert_eq!(spec.custom_nodes.len(), 1);
    assert_eq!(spec.models.len(), 1);
    let names: Vec<_> = unknown.iter().map(|unknown| unknown.name.as_str()).collect();
    let expected =
        ["ext::sh -c x", "https://other/o/a", "d.pth", "loras/../../b.pth", "loras/c.pth", "loras/e.pth"];
    assert_eq!(names, expected);
}

#[test]
fn a_comfyui_that_cannot_be_had_gives_way_to_the_one_there_is() {
    let comfy = FoundRepo { url: Some("ext::sh".to_owned()), revision: Revision::Unknown };
    let made = write(Found { comfy, python: Some("3.11.9".to_owned()), ..Found::default() }, &id()).unwrap();
    assert_eq!(made.spec.comfy.repo, COMFYUI);
    assert_eq!(made.unknown[0].kind, UnknownKind::Comfyui);
    assert_eq!(made.spec.env["COMFY_PYTHON"], "python3.11");
    for odd in ["2.7", "3", "3.x", "", "3.11; rm", "3.1111"] {
        assert!(odd == "3.11; rm" || interpreter(odd).is_none(), "{odd}");
    }
}

proptest! {
    #[test]
    fn whatever_is_found_a_spec_is_written(
        nodes in proptest::collection::vec(("\\PC{0,30}|https://h/[a-z./]{0,9}", proptest::option::of("\\PC{0,9}")), 0..5),
        models in proptest::collection::vec(
            (proptest::option::of("\\PC{0,9}|loras"), "\\PC{0,12}|[a-z/.]{1,9}\\.pt", proptest::option::of("\\PC{0,20}|https://h/x\\.pt")), 0..5),
    ) {
        let nodes: Vec<_> = nodes.iter().map(|(url, dir)| node(url, dir.as_deref())).collect();
        let models: Vec<_> = models.iter().map(|(folder, name, link)| model(folder.as_deref(), name, link.as_deref())).collect();
        let made = write(Found { nodes, models, ..Found::default() }, &id());
        prop_assert!(made.is_ok(), "{made:?}");
    }
}
