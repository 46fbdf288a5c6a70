//! What other loaders and odd firmware hand over: modules, tables in odd spots.

use qemu::{Kind, Outcome};
use tests::pvh::{StartInfo, guest};
use tests::{Scene, run};

/// Where AMD's processors have a large region that is reserved, below 1 TiB.
const RESERVED: (u64, u64, u32) = (0xFD_0000_0000, 0x3_0000_0000, 2);
/// Memory that the firmware keeps, above 4 GiB.
const HIGH: u64 = 0x1_4000_0000;

/// The lines that the diagnostic program logs when it is started with this.
fn lines(info: &StartInfo, change: impl FnOnce(&mut qemu::Guest)) -> Vec<String> {
    let scene = Scene::with_consoles(&[Kind::Virtio]);
    let mut guest = guest(&scene, info);
    change(&mut guest);
    run(guest, Outcome::Finished);
    scene.lines(0)
}

fn has(lines: &[String], words: &str) {
    assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:#?}");
}

#[test]
fn the_kernel_and_its_command_line_as_two_modules() {
    let info = StartInfo {
        more_modules: vec![b"app=lines:77\nlog=debug ".to_vec()],
        command_line: "app=lines:5".to_owned(),
        ..StartInfo::default()
    };
    let lines = lines(&info, |_| ());
    has(&lines, "start information version 1, 2 modules");
    assert_eq!(lines.iter().filter(|line| line.contains(" of 77 ")).count(), 77);
}

#[test]
fn the_kernel_alone_with_a_command_line_of_the_loaders() {
    let info = StartInfo { command_line: "app=lines:78".to_owned(), ..StartInfo::default() };
    let lines = lines(&info, |_| ());
    assert_eq!(lines.iter().filter(|line| line.contains(" of 78 ")).count(), 78);
    has(&lines, "no ACPI root pointer");
}

#[test]
fn a_root_pointer_to_where_nothing_is() {
    for (root_pointer, problem) in [
        (RESERVED.0 + 0x1000, "the root pointer has no signature"),
        (0x2_0000_0000, "the root pointer lies outside of memory"),
        (0xFF_FFFF_FFF8, "the root pointer lies outside of memory"),
        (u64::MAX - 3, "the root pointer lies outside of memory"),
    ] {
        let info = StartInfo { root_pointer, more_memory: vec![RESERVED], ..StartInfo::default() };
        has(&lines(&info, |_| ()), &format!("WARN  diag: finding: acpi: {problem}"));
    }
}

fn sum(bytes: &mut [u8], at: usize) {
    bytes[at] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
}

/// A root pointer, and a root table right behind it, which has these entries.
fn root(at: u64, entries: &[u64]) -> Vec<u8> {
    let mut pointer = b"RSD PTR \0MAKER \x02".to_vec();
    pointer.resize(36, 0);
    pointer[20] = 36;
    pointer[24..32].copy_from_slice(&(at + 64).to_le_bytes());
    sum(&mut pointer[..20], 8);
    sum(&mut pointer, 32);
    pointer.resize(64, 0);
    pointer.extend(table(b"XSDT", &entries.iter().flat_map(|entry| entry.to_le_bytes()).collect::<Vec<_>>()));
    pointer
}

fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = signature.to_vec();
    table.extend((36 + body.len() as u32).to_le_bytes());
    table.extend(b"\x01\0MAKER TABLE   ");
    table.resize(36, 0);
    table.extend(body);
    sum(&mut table, 9);
    table
}

#[test]
fn tables_in_memory_that_the_firmware_keeps_above_4_gib() {
    // One on two pages, one behind the end of what is mapped, one that is damaged, one in a hole.
    let split = table(b"AAAA", &[7; 200]);
    let mut damaged = table(b"BBBB", &[8; 100]);
    damaged[50] ^= 1;
    let entries = [HIGH + 0x2FC0, HIGH + 0x5000, RESERVED.0, 0x2_0000_0000];
    let info = StartInfo {
        root_pointer: HIGH + 0x10,
        more_memory: vec![(HIGH, 0x10_0000, 2), RESERVED],
        contents: vec![(HIGH + 0x10, root(HIGH + 0x10, &entries)), (entries[0], split), (entries[1], damaged)],
        ..StartInfo::default()
    };
    // q35 has what is beyond 2 GiB above 4 GiB.
    let lines = lines(&info, |guest| guest.memory_mib = 4096);
    has(&lines, "acpi: table=\"XSDT\" address=0x140000050 size=68 ");
    has(&lines, "acpi: table=\"AAAA\" address=0x140002fc0 size=236 ");
    has(&lines, "finding: acpi: table \"BBBB\" at 0x140005000: its checksum is wrong");
    has(&lines, "at 0xfd00000000: ");
    has(&lines, "at 0x200000000: it lies outside of memory");
    assert_eq!(lines.iter().filter(|line| line.contains("state=\"ok\"")).count(), 2);
}
