//! Which package may use which: arrows point down only.

use super::Findings;
use super::metadata::Metadata;

/// What one package may use.
struct Arrows {
    package: &'static str,
    /// The workspace's packages that it may use.
    uses: &'static [&'static str],
    /// Those that its tests may use besides.
    tests_use: &'static [&'static str],
}

const fn arrows(package: &'static str, uses: &'static [&'static str]) -> Arrows {
    Arrows { package, uses, tests_use: &[] }
}

const fn with_fakes(arrows: Arrows) -> Arrows {
    Arrows { tests_use: &["block-fake", "platform-fake"], ..arrows }
}

/// From the bottom up.
const ARROWS: &[Arrows] = &[
    arrows("block", &[]),
    arrows("block-fake", &["block"]),
    arrows("platform", &[]),
    arrows("platform-fake", &["platform"]),
    arrows("freestanding", &[]),
    with_fakes(arrows("pci", &["platform"])),
    with_fakes(arrows("nvme", &["block", "platform", "pci"])),
    with_fakes(arrows("virtio-blk", &["block", "platform", "pci"])),
    with_fakes(arrows("partition", &["block"])),
    with_fakes(arrows("blockconsole", &["block"])),
    arrows("kernel", &["block", "platform", "pci", "nvme", "virtio-blk", "partition", "blockconsole", "freestanding"]),
    arrows("bench", &["kernel", "blockconsole", "block", "platform", "freestanding"]),
    arrows("boot", &["freestanding", "block", "partition", "blockconsole"]),
    arrows("boot-image", &["boot"]),
    arrows("bcon", &["blockconsole", "partition", "block", "boot-image"]),
    arrows("qemu", &["bcon"]),
    arrows("tests", &["qemu", "bcon"]),
    arrows("linux-peer", &[]),
    arrows("xtask", &["qemu", "bcon"]),
];

/// Packages whose libraries and programs forbid `unsafe`.
pub(super) const WITHOUT_UNSAFE: &[&str] = &["block", "blockconsole", "partition", "bcon", "qemu", "tests", "xtask"];

pub(super) fn check(metadata: &Metadata, findings: &mut Findings) {
    for package in metadata.members() {
        let name = package.name();
        let Some(arrows) = ARROWS.iter().find(|arrows| arrows.package == name) else {
            findings.error(format!("package {name} stands in no arrow: add it to tidy's list"));
            continue;
        };
        for (used, only_tests) in package.uses() {
            let allowed = arrows.uses.contains(&used) || only_tests && arrows.tests_use.contains(&used);
            // A package that tests itself with a feature on names itself.
            if !allowed && used != name {
                findings.error(format!("package {name} must not use {used}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, used: &str, kind: &str) -> Vec<String> {
        let text = format!(
            r#"{{"workspace_members": ["x"], "packages": [{{"id": "x", "name": "{name}", "dependencies": [
                {{"name": "{used}", "kind": {kind}, "path": "/x"}}, {{"name": "log", "kind": null}}]}}]}}"#
        );
        let mut findings = Findings::default();
        check(&Metadata::parse(&text).unwrap(), &mut findings);
        findings.errors
    }

    #[test]
    fn arrows_point_down() {
        assert!(findings("nvme", "pci", "null").is_empty());
        assert!(findings("nvme", "platform-fake", "\"dev\"").is_empty());
        assert!(findings("block", "block", "\"dev\"").is_empty());
        assert_eq!(findings("nvme", "platform-fake", "null"), ["package nvme must not use platform-fake"]);
        assert_eq!(findings("pci", "nvme", "null"), ["package pci must not use nvme"]);
        assert_eq!(findings("block", "kernel", "\"build\""), ["package block must not use kernel"]);
        assert_eq!(findings("new", "block", "null"), ["package new stands in no arrow: add it to tidy's list"]);
    }
}
