//! The diagnostic program says what the machine is, and what looks wrong with it.

use std::fs;

use qemu::{Bus, Firmware, Guest, Kind, Outcome};
use tests::{Scene, run};

use crate::images::{guest, make_image};

/// What a line of each section must have, in the order in which they come; whatever stands in between.
const SECTIONS: [&[&str]; 26] = [
    &[
        "nvme: nvme0n1 id=1 blocks=",
        " block_size=512 metadata=0 shared=",
        " access=ReadWrite eui64=",
        " nguid=",
        " uuid=",
    ],
    &["disk: nvme0n1 blocks=104448 block_size=512 table=Gpt"],
    &["partition: nvme0n1 number=3 kind=Gpt first_block=86016 blocks=16384"],
    &["virtio: vda bits=0x", " features=", "FLUSH", " spare_queue="],
    &["disk: vda blocks=16384 block_size=512 table=None"],
    &["cpu: vendor=\"", " model=\"QEMU"],
    &["cpu: family=0x", " model=0x", " stepping="],
    &["cpu: microcode="],
    &["cpu: hypervisor=\""],
    &["cpu: features=sse3,", "nx,"],
    &["memory: start=0x00000", " end=0x", " kind=usable firmware_type=0"],
    &["memory: regions=", " usable_kib=", " loader_kib=", " heap="],
    &["memtest: tested_kib=", " word_errors=0"],
    &["acpi: table=\"FACP\" address=0x", " state=\"ok\""],
    &["acpi: processors=1 listed=1"],
    &["acpi: root_pointer=0x", " tables="],
    &["smbios: system maker=\"QEMU\" product=\"Standard PC (Q35"],
    &["smbios: memory slot=\"DIMM 0\" size_mib=128 "],
    &["pci: 0000:00:00.0 id=8086:29c0 ", " class=060000 kind=\"host bridge\""],
    &["kind=\"NVMe controller\""],
    &[
        "nvme: nvme0 vendor=1b36 model=\"QEMU NVMe Ctrl\" serial=\"boot\" firmware=\"",
        " version=1.4.0 ",
        " write_cache=",
    ],
    &["nvme: nvme0 health=0x00 celsius=50 used_percent=0 spare_percent=", " media_errors=0 "],
    &["nvme: nvme0 logged_errors="],
    &["nvme: nvme0 self_test="],
    &["console: vda uuid=", " boot=1 "],
    &["timing: loader_us=", " kernel_us=", " devices_us=", " mount_us=", " survey_us="],
];

/// The lines of a machine whose disk was started by this firmware, on another disk's console.
fn lines(firmware: Firmware) -> Vec<String> {
    let mut scene = Scene::new();
    let (path, _) = make_image(&scene, "");
    scene.add_console(Kind::Virtio, 8);
    let mut guest = guest(&scene, firmware, Bus::Nvme, &path);
    guest.arguments.extend(["-device", "virtio-rng-pci"].map(Into::into));
    run(guest, Outcome::Finished);
    scene.lines(0)
}

fn has(line: &str, words: &[&str]) -> bool {
    let mut rest = line;
    words.iter().all(|word| match rest.split_once(word) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

fn says_everything(firmware: Firmware) {
    let lines = lines(firmware);
    let diag: Vec<&str> = lines.iter().filter(|line| line.contains(" diag: ")).map(String::as_str).collect();
    for section in SECTIONS {
        assert!(diag.iter().any(|line| has(line, section)), "{section:?}: {diag:#?}");
    }
    assert!(diag.iter().any(|line| has(line, &["pci: ", " virtio=entropy features=0x1"])), "{diag:#?}");
    assert!(diag.iter().all(|line| line.is_ascii()), "{diag:#?}");
    // It comes last, and a sound machine is called sound.
    assert!(diag.last().unwrap().ends_with("INFO  diag: summary: findings=0: nothing looks wrong"), "{diag:#?}");
    // The loader's part has been measured: no machine boots a kernel in less than 100 microseconds.
    let timing = diag.iter().find_map(|line| line.split_once("timing: loader_us=")).unwrap().1;
    let micros: u64 = timing.split(' ').next().unwrap().parse().unwrap();
    assert!(micros > 100, "{micros}");
}

#[test]
fn every_section_by_bios() {
    says_everything(Firmware::Bios);
}

#[test]
fn every_section_by_uefi() {
    says_everything(Firmware::Uefi);
}

/// The findings of a guest, without what is in front of them, and the summary.
fn findings(guest: Guest, scene: &Scene) -> Vec<String> {
    run(guest, Outcome::Finished);
    let lines = scene.lines(0);
    let parts = lines.iter().filter_map(|line| line.split_once("WARN  diag: "));
    parts.map(|(_, text)| text.to_owned()).collect()
}

#[test]
fn a_disk_whose_health_is_bad() {
    let mut scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    // Reliability degraded, media read-only.
    scene.disk(1).properties = vec!["smart_critical_warning=12".to_owned()];
    let found = findings(scene.guest(""), &scene);
    let expected = [
        "finding: nvme0: SMART: reliability degraded",
        "finding: nvme0: SMART: media are read-only",
        "summary: findings=2",
    ];
    assert_eq!(found, expected);
}

#[test]
fn partition_tables_without_a_backup() {
    for (damage, problem) in [
        ((|image| image.resize(image.len() + (1 << 20), 0)) as fn(&mut Vec<u8>), "is not at the disk's end"),
        (|image| *image.last_chunk_mut::<512>().unwrap() = [0; 512], "is missing or damaged"),
        (|image| image.last_chunk_mut::<512>().unwrap()[56] ^= 1, "says something else"),
    ] {
        let mut scene = Scene::with_consoles(&[Kind::Virtio]);
        let (path, _) = make_image(&scene, "");
        let mut image = fs::read(path).unwrap();
        damage(&mut image);
        scene.add(Kind::Nvme, &image);
        let found = findings(scene.guest(""), &scene);
        assert_eq!(found.len(), 2, "{found:#?}");
        let text = "finding: nvme0n1: partition table: its backup ";
        assert!(found[0].starts_with(text) && found[0].contains(problem), "{found:#?}");
    }
}
