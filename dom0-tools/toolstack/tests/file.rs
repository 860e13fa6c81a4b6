// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domain files, good and bad: what is understood and what is said.

use hv_toolstack::file::{KEYS, Key, Kind, TABLES, load, parse};
use hv_toolstack::spec::{Action, DomainSpec};
use proptest::prelude::*;

const GOOD: &str = r#"# a web server
name = "web"
kernel = "/boot/bzImage"
memory = "128M"
"#;

fn good(text: &str, overrides: &[&str]) -> DomainSpec {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    match parse("web.toml", text, &overrides) {
        Ok(parsed) => parsed.spec,
        Err(faulty) => panic!("{}", faulty.0[0]),
    }
}

fn bad(text: &str, overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    let faulty = parse("web.toml", text, &overrides).unwrap_err();
    let shown: Vec<String> = faulty.0.iter().map(|d| d.to_string()).collect();
    shown.join("\n")
}

#[test]
fn a_short_file_gets_defaults() {
    let spec = good(GOOD, &[]);
    assert_eq!((spec.vcpus, spec.cpu.weight, spec.cpu.cap), (1, 256, 0));
    assert_eq!(spec.memory, 128 << 20);
    assert_eq!(spec.on_poweroff, Action::Destroy);
    assert_eq!(spec.on_reboot, Action::Restart);
    assert_eq!(spec.kernel_cmdline(), "console=hvc0");
}

#[test]
fn every_key_is_understood_and_its_example_too() {
    let single = |key: &&Key| !TABLES.iter().any(|t| key.path.starts_with(&format!("{t}.")));
    for key in KEYS.iter().filter(single) {
        let line = match key.path.strip_prefix("cpu.") {
            Some(_) => format!("{GOOD}[cpu]\n{}", key.example),
            None if key.required => key.example.to_string() + "\n" + &without(key.path),
            None => format!("{GOOD}{}", key.example),
        };
        let spec = good(&line, &[]);
        // And as an override.
        let value = key.example.split_once(" = ").unwrap().1.trim_matches('"');
        assert_eq!(spec, good(&line, &[&format!("{}={value}", key.path)]), "{}", key.path);
        // No key takes a value of no type of its.
        let wrong =
            line.replace(key.example, &format!("{} = 1.5", key.path.trim_start_matches("cpu.")));
        assert!(bad(&wrong, &[]).contains("expected"), "{}", key.path);
        assert!(
            !key.doc.is_empty() && key.kind.text() != Kind::Text.text() || key.kind == Kind::Text
        );
    }
}

#[test]
fn every_key_of_a_card_is_understood() {
    for key in KEYS.iter().filter(|key| key.path.starts_with("network.")) {
        let own = matches!(key.path, "network.bridge" | "network.nat");
        let bridge = if own { "" } else { "bridge = \"b\"\n" };
        let spec = good(&format!("{GOOD}\n[[network]]\n{bridge}{}\n", key.example), &[]);
        assert_eq!(spec.networks.len(), 1, "{}", key.path);
    }
}

fn without(path: &str) -> String {
    let keep = |line: &&str| !line.starts_with(path);
    GOOD.lines().filter(keep).collect::<Vec<_>>().join("\n")
}

#[test]
fn command_lines_keep_a_console_of_their_own() {
    let cmdline = |c: &str| good(GOOD, &[&format!("cmdline={c}")]).kernel_cmdline();
    assert_eq!(cmdline("quiet root=/dev/ram"), "console=hvc0 quiet root=/dev/ram");
    assert_eq!(cmdline("console=ttyS0 quiet"), "console=ttyS0 quiet");
    assert_eq!(cmdline("noconsole=1"), "console=hvc0 noconsole=1");
}

#[test]
fn overrides_are_one_word_without_quotes() {
    let spec = good(GOOD, &["memory=2G", "cmdline=a=b c", "cpu.affinity=0-1", "name=db"]);
    assert_eq!((spec.memory, &*spec.name), (2 << 30, "db"));
    assert_eq!(spec.cmdline, "a=b c");
    assert_eq!(spec.cpu.affinity.unwrap().0, 3);
    // What is missing in the file may come from the command line.
    assert_eq!(good(&without("memory"), &["memory=64M"]).memory, 64 << 20);
}

#[test]
fn affinity_is_text_number_or_list() {
    for text in ["\"1-3\"", "[1, 2, 3]"] {
        let spec = good(&format!("{GOOD}cpu.affinity = {text}"), &[]);
        assert_eq!(spec.cpu.affinity.unwrap().0, 0b1110);
    }
    assert_eq!(good(&format!("{GOOD}cpu = {{ affinity = 2 }}"), &[]).cpu.affinity.unwrap().0, 4);
}

#[test]
fn messages() {
    let all = [
        bad("name = \"web\"\nmemroy = \"128M\"\n", &[]),
        bad(&GOOD.replace("128M", "128"), &[]),
        bad(&GOOD.replace("\"128M\"", "128"), &[]),
        bad(&GOOD.replace("128M", "1K"), &[]),
        bad(&GOOD.replace("\"web\"", "\"a b\""), &[]),
        bad(&GOOD.replace("\"web\"", "12"), &[]),
        bad(&format!("{GOOD}vcpus = 65\n[cpu]\nweight = 0\ncap = -1\n"), &[]),
        bad(&format!("{GOOD}on_crash = \"restrat\"\non_reboot = \"explode\""), &[]),
        bad(&format!("{GOOD}disks = [ \"a\" ]"), &[]),
        bad(&format!("{GOOD}[cpu]\nwieght = 5"), &[]),
        bad(&format!("{GOOD}vcpus = \n"), &[]),
        bad(&format!("{GOOD}\tvcpus = \"ä\" # Grüße"), &[]),
        bad(&without("kernel"), &[]),
        bad("", &[]),
        bad(GOOD, &["memory"]),
        bad(GOOD, &["memry=1G"]),
        bad(GOOD, &["vcpus=two"]),
        bad(GOOD, &["memory=1X"]),
    ];
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn paths_are_relative_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.toml");
    std::fs::write(&path, GOOD.replace("/boot/bzImage", "boot/k")).unwrap();
    let spec = load(&path, &["initrd=/abs/i".into()]).unwrap().spec;
    assert_eq!(spec.kernel, dir.path().join("boot/k"));
    assert_eq!(spec.initrd.unwrap(), std::path::Path::new("/abs/i"));
    let missing = load(&dir.path().join("none.toml"), &[]).unwrap_err();
    assert!(missing.0[0].to_string().contains("cannot read"));
}

#[test]
fn later_faults_point_into_the_file_too() {
    let parsed = parse("web.toml", GOOD, &[]).unwrap();
    let shown = parsed.diagnostic("kernel", "no such file").to_string();
    assert_eq!(
        shown,
        "error: no such file\n  --> web.toml:3:10\n   |\n 3 | kernel = \"/boot/bzImage\"\n   |          ^^^^^^^^^^^^^^^"
    );
    assert_eq!(parsed.diagnostic("initrd", "x").position(), None);
}

#[test]
fn a_spec_survives_json() {
    let spec = good(&format!("{GOOD}cpu.affinity = [0, 2]"), &["initrd=/i"]);
    let json = serde_json::to_string(&spec).unwrap();
    assert!(json.contains("\"affinity\":\"0,2\""), "{json}");
    assert_eq!(serde_json::from_str::<DomainSpec>(&json).unwrap(), spec);
    assert!(serde_json::from_str::<DomainSpec>(&json.replace("vcpus", "vcpu")).is_err());
}

proptest! {
    /// No text brings the parser or the renderer down.
    #[test]
    fn nothing_panics(text in "(name|memory|cpu|[a-z]{1,3}|=|\"|\\[|\\]|\\.|\n|\t|ä|[0-9]|M| ){0,40}",
                      word in "[a-z.=0-9ä]{0,12}") {
        if let Err(faulty) = parse("x", &text, &[word]) {
            for fault in faulty.0 {
                prop_assert!(fault.to_string().starts_with("error: "));
            }
        }
    }
}
