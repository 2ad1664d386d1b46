//! Fields of the whole file: names, types, `schema_version`, ids, `options`, `env`, `python_packages`.

use crate::spec::{clean, parse, refused, warned, with};
use proto::spec::{Conflicts, ExcludeNewer};
use serde_json::{Value, json};

#[test]
fn the_smallest_spec_works() {
    let spec = clean(json!({}));
    assert_eq!(spec.version_id.as_str(), "x");
    assert!(spec.custom_nodes.is_empty() && spec.models.is_empty() && spec.env.is_empty());
    assert_eq!(spec.options, proto::spec::Options::default());
}

#[test]
fn a_misspelt_field_is_told_with_what_was_meant() {
    let repo = "https://git.example/a/b";
    let table = [
        (json!({"custom_node": []}), "custom_node", "did you mean `custom_nodes`?"),
        (json!({"Models": []}), "Models", "did you mean `models`?"),
        (json!({"options": {"ofline": true}}), "options.ofline", "did you mean `offline`?"),
        (
            json!({"custom_nodes": [{"repo": repo, "comit": "a"}]}),
            "custom_nodes[0].comit",
            "did you mean `commit`?",
        ),
        (json!({"zzz": 1}), "zzz", "allowed are `$schema`, `schema_version`"),
        (json!({"workflows": []}), "workflows", "on purpose"),
        (json!({"mounts": []}), "mounts", "on purpose"),
        (json!({"paths": {}}), "paths", "on purpose"),
        (
            json!({"models": [{"source": "/a/b.pth", "target_subdir": "vae", "files": []}]}),
            "models[0].files",
            "list each file",
        ),
    ];
    for (fields, field, says) in table {
        refused(fields, field, says);
    }
}

#[test]
fn wrong_types_say_what_was_expected_and_found() {
    let table = [
        (json!({"comfy": "https://git.example/a"}), "comfy", "expected an object, found a text"),
        (json!({"comfy": {"repo": 5}}), "comfy.repo", "expected a text, found a number"),
        (json!({"comfy": {"repo": "/a", "ref": ["b"]}}), "comfy.ref", "found a list"),
        (json!({"custom_nodes": {}}), "custom_nodes", "expected a list, found an object"),
        (json!({"custom_nodes": ["https://git.example/a"]}), "custom_nodes[0]", "expected an object"),
        (json!({"models": "a"}), "models", "expected a list"),
        (json!({"python_packages": [1]}), "python_packages[0]", "expected a text"),
        (json!({"env": []}), "env", "expected an object"),
        (json!({"env": {"A": {}}}), "env.A", "found an object"),
        (
            json!({"options": {"offline": "true"}}),
            "options.offline",
            "expected `true` or `false`, found a text",
        ),
        (json!({"options": {"exclude_newer": 5}}), "options.exclude_newer", "found a number"),
        (json!({"options": {"extra_args": "--fast"}}), "options.extra_args", "expected a list"),
        (json!({"schema_version": "2"}), "schema_version", "expected a number, found a text"),
    ];
    for (fields, field, says) in table {
        refused(fields, field, says);
    }
    let null_in_env = parse(r#"{"schema_version": 2, "comfy": {"repo": "/c"}, "env": {"A": null}}"#);
    assert!(null_in_env.diagnostics[0].message.contains("found `null`"));
}

#[test]
fn null_means_absent() {
    let text = r#"{"schema_version": 2, "comfy": {"repo": "/c", "ref": null, "commit": null}, "models": null,
        "options": null, "custom_nodes": [{"repo": "/n", "name": null, "install_requirements": null}]}"#;
    let parsed = parse(text);
    assert_eq!(parsed.diagnostics, []);
    assert!(parsed.spec.is_some_and(|spec| spec.custom_nodes[0].install_requirements));
}

#[test]
fn only_schema_version_2_is_read() {
    refused(json!({"schema_version": null}), "schema_version", "write `\"schema_version\": 2`");
    for other in [json!(1), json!(3), json!(2.5), json!(-2), json!(1e300)] {
        refused(json!({"schema_version": other}), "schema_version", "does not know schema version");
    }
}

#[test]
fn the_file_name_is_the_id() {
    clean(json!({"version_id": "x"}));
    clean(json!({"id": "x", "$schema": "spec.schema.json"}));
    assert_eq!(
        warned(json!({"version_id": "y"}), "version_id", "the version is `x`").version_id.as_str(),
        "x"
    );
    warned(json!({"id": "any thing"}), "id", "differs from the file's name");
    for bad in ["..", "-x", "a b", "", "a/b", "x\0"] {
        let parsed = proto::spec::parse(&with(json!({})), "f.json", bad);
        assert!(parsed.spec.is_none(), "{bad:?}");
        assert!(parsed.diagnostics[0].hint.as_ref().is_some_and(|hint| hint.contains("rename the file")));
    }
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let parsed = parse("{\"schema_version\": 2,\n \"comfy\": {\"repo\": \"/c\",\n  \"repo\": \"/d\"}}");
    let [one] = parsed.diagnostics.as_slice() else { panic!("{parsed:?}") };
    assert_eq!((one.line, one.column, one.field.as_str()), (3, 3, "comfy.repo"));
    assert!(one.message.contains("twice"));
}

#[test]
fn moments_of_exclude_newer() {
    let read = |value: Value| clean(json!({"options": {"exclude_newer": value}})).options.exclude_newer;
    let at = |text: &str| ExcludeNewer::At(text.parse().unwrap());
    let table = [
        (json!("auto"), ExcludeNewer::Auto),
        (json!(true), ExcludeNewer::Auto),
        (json!("off"), ExcludeNewer::Off),
        (json!(false), ExcludeNewer::Off),
        (json!("2025-11-30"), at("2025-12-01T00:00:00Z")),
        (json!("2024-02-29"), at("2024-03-01T00:00:00Z")),
        (json!("2025-11-30T12:00:00Z"), at("2025-11-30T12:00:00Z")),
        (json!("2025-11-30T12:00:00+02:00"), at("2025-11-30T10:00:00Z")),
    ];
    for (given, expected) in table {
        assert_eq!(read(given.clone()), expected, "{given}");
    }
    for bad in ["", "today", "2025-13-01", "2025-02-30", "30.11.2025", "2025-11-30T12:00:00", "9999-12-31"] {
        refused(json!({"options": {"exclude_newer": bad}}), "options.exclude_newer", "2025-11-30");
    }
}

#[test]
fn other_options() {
    let options = clean(json!({"options": {
        "offline": true, "skip_models": true, "no_install_scripts": true, "conflicts": "warn", "extra_args": ["--fast", "a b"]
    }}))
    .options;
    assert!(options.offline && options.skip_models && options.no_install_scripts);
    assert_eq!((options.conflicts, options.extra_args.len()), (Conflicts::Warn, 2));
    refused(json!({"options": {"conflicts": "ignore"}}), "options.conflicts", "write `error` or `warn`");
    for bad in ["", "a\0", "a\nb"] {
        refused(json!({"options": {"extra_args": ["--x", bad]}}), "options.extra_args[1]", "argument");
    }
}

#[test]
fn environment_variables_are_texts() {
    let spec = clean(json!({"env": {"COMFY_PYTHON": "python3.11", "_a1": "", "X": "l1\nl2"}}));
    assert_eq!(spec.env["COMFY_PYTHON"], "python3.11");
    assert_eq!(warned(json!({"env": {"A": 1.50}}), "env.A", "a number is taken as text").env["A"], "1.5");
    assert_eq!(warned(json!({"env": {"A": true}}), "env.A", "write the value in quotes").env["A"], "true");
    for bad in ["", "1A", "A-B", "A B", "A=B", "Ы", "A\0"] {
        let parsed = parse(&with(json!({"env": {bad: "1"}})));
        assert!(parsed.diagnostics.len() == 1 && parsed.spec.is_none(), "{bad:?}");
    }
    refused(json!({"env": {"A": "x\0y"}}), "env.A", "NUL");
}

#[test]
fn a_requirement_is_one_line_without_options() {
    let good = [
        "numpy<2",
        "  opencv-python-headless ; sys_platform == 'linux'  ",
        "x @ git+https://git.example/a/x@v1",
        "x @ git+ssh://git@git.example/a/x",
        "https://files.example/x-1.0-py3-none-any.whl",
    ];
    let spec = clean(json!({"python_packages": good}));
    assert_eq!(spec.python_packages[1], good[1].trim());
    for (bad, says) in [
        ("-r more.txt", "`-r` is an option"),
        ("--extra-index-url https://u:s3cr3t@index.example", "COMFY_WHEELS_DIR"),
        ("--find-links=/wheels", "`--find-links` is an option"),
        ("a\nb", "one requirement"),
        ("numpy \\", "one requirement"),
        ("x @ https://h.example/${HF_TOKEN}/x.whl", "uv would replace"),
        ("x @ https://u:s3cr3t@git.example/x", "user name or password"),
        ("x @ git+https://s3cr3t@git.example/x", "user name or password"),
        ("x @ git+ssh://git:s3cr3t@git.example/x", "user name or password"),
    ] {
        refused(json!({"python_packages": ["a", bad]}), "python_packages[1]", says);
        let found = parse(&with(json!({"python_packages": [bad]}))).diagnostics;
        assert!(!format!("{found:?}").contains("s3cr3t"), "{found:?}");
    }
    for empty in ["", "  ", "# numpy"] {
        let spec = warned(json!({"python_packages": [empty, "a"]}), "python_packages[0]", "no requirement");
        assert_eq!(spec.python_packages, ["a"]);
    }
}
