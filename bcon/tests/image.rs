//! Images out of release files: reproducible, with a console, replacing nothing.
#![forbid(unsafe_code)]

mod common;

use bcon::image::{Options, Parts, make};
use boot_image::bios::Stages;
use common::{Folder, bcon, bcon_ok};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// A folder with files that look like a release's.
fn release(folder: &Folder) -> std::path::PathBuf {
    let parts = Parts {
        stages: Stages::new(&[0x90; 440], vec![0x7F; 1024]).unwrap(),
        application: b"MZ application".to_vec(),
        kernel: b"\x7FELF kernel".to_vec(),
    };
    let path = folder.file("release");
    parts.write(&path).unwrap();
    assert_eq!(Parts::read(&path).unwrap(), parts);
    path
}

fn words(folder: &Path, out: &Path, more: &[&str]) -> Vec<OsString> {
    let mut words = vec!["image".into(), "--from".into(), folder.into(), "--out".into(), out.into()];
    words.extend(more.iter().map(OsString::from));
    words
}

#[test]
fn the_same_files_and_seed_make_the_same_image() {
    let folder = Folder::new("image-same");
    let release = release(&folder);
    let mut images = Vec::new();
    for (name, more) in [("a", "--seed=7"), ("b", "--seed=7"), ("c", "--seed=8"), ("d", "--append=x")] {
        let path = folder.file(name);
        bcon_ok(0, words(&release, &path, &["--console-size=4M", more]));
        images.push(fs::read(&path).unwrap());
    }
    assert!(images[0] == images[1]);
    assert!(images[0] != images[2] && images[2] != images[3]);
    assert_eq!(images[0].len(), (2 + 40 + 4 + 1) << 20);
}

#[test]
fn an_image_has_an_empty_console() {
    let folder = Folder::new("image-console");
    let path = folder.file("a.img");
    let said = bcon_ok(0, words(&release(&folder), &path, &["--console-size=8M"]));
    let target = bcon::target::open(&path).unwrap();
    let console = target.console(None).unwrap();
    assert_eq!((console.partition, console.medium.len()), (3, 8 << 20));
    assert!(said.contains(&format!("console {:08x}", console.header.uuid)), "{said}");
    bcon_ok(0, [OsString::from("verify"), path.clone().into()]);
    let none = folder.file("none.img");
    assert!(bcon_ok(0, words(&release(&folder), &none, &["--console-size=0"])).contains("no console"));
    assert!(bcon::target::open(&none).unwrap().consoles.is_empty());
}

#[test]
fn nothing_else_is_replaced_and_nothing_half_made_is_left() {
    let folder = Folder::new("image-refused");
    let release = release(&folder);
    let path = folder.write("a.img", b"somebody's");
    let refused = |words: Vec<OsString>, reason: &str| {
        let output = bcon(words);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(3) && errors.contains(reason), "{errors}");
    };
    refused(words(&release, &path, &[]), "--force replaces it");
    refused(words(&release, &path, &["--force", "--console-size=1000"]), "whole MiB");
    refused(words(&release, &path, &["--force", &format!("--append={}", "x".repeat(5000))]), "command line");
    refused(words(&release, Path::new("/dev/null"), &["--force"]), "is no file");
    assert_eq!(fs::read(&path).unwrap(), b"somebody's");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    bcon_ok(0, words(&release, &path, &["--force", "--console-size=1M"]));
    assert_eq!(fs::metadata(&path).unwrap().len(), (2 + 40 + 1 + 1) << 20);
}

#[test]
fn files_that_are_no_release_are_refused() {
    let folder = Folder::new("image-files");
    for (name, content, reason) in [
        ("kernel", &b"text"[..], "no ELF program"),
        ("BOOTX64.EFI", b"", "no EFI application"),
        ("bios-mbr.bin", b"x", "boot record"),
        ("bios-stage2.bin", b"x", "second stage"),
    ] {
        let release = release(&folder);
        fs::write(release.join(name), content).unwrap();
        assert!(format!("{:#}", Parts::read(&release).unwrap_err()).contains(reason), "{name}");
        fs::remove_file(release.join(name)).unwrap();
        assert!(format!("{:#}", Parts::read(&release).unwrap_err()).contains(name));
        fs::remove_dir_all(release).unwrap();
    }
}

#[test]
fn a_missing_converter_is_named_with_what_to_install() {
    use bcon::image::{Format, convert};
    let folder = Folder::new("image-convert");
    let raw = folder.write("a.img", &[0; 1024]);
    let error = convert(&raw, Format::Vmdk, Path::new("no-such-program")).unwrap_err().to_string();
    assert!(error.contains("apt-get install qemu-utils"), "{error}");
    let error = convert(&folder.file("a.vmdk"), Format::Vmdk, Path::new("true")).unwrap_err().to_string();
    assert!(error.contains("another name"), "{error}");
    let options = Options { console_size: 1 << 20, seed: Some(1), ..Options::default() };
    make(&raw, &Parts::read(&release(&folder)).unwrap(), &options, true).unwrap();
    // What would do the work is called with the right words.
    let program = folder.write("qemu-img", b"#!/bin/sh\necho \"$@\" > \"$(dirname \"$0\")/words\"\n");
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(convert(&raw, Format::Vhd, &program).unwrap(), folder.file("a.vhd"));
    let words = fs::read_to_string(folder.file("words")).unwrap();
    assert!(words.starts_with("convert -f raw -O vpc -o subformat=fixed,force_size=on "), "{words}");
}
