//! Tests on files: what is written is read back, and what is not is noticed.

use super::*;
use std::fs;
use std::path::PathBuf;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bcon-flash-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes that look like an image.
fn bytes(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    bytes[512..520].copy_from_slice(b"EFI PART");
    bytes
}

#[test]
fn what_is_written_is_read_back_and_nothing_else_is_touched() {
    let folder = Folder::new("written");
    for len in [1024, PIECE, PIECE + 512, 3 * PIECE - 4096] {
        let image = Image::open(&folder.write("image", &bytes(len))).unwrap();
        let disk = folder.write("disk", &vec![0xEE; len + 5000]);
        let mut steps = Vec::new();
        flash(&disk, &image, None, false, |step, done| steps.push((step, done))).unwrap();
        let after = fs::read(&disk).unwrap();
        assert!(after[..len] == bytes(len) && after[len..] == [0xEE; 5000], "{len}");
        let pieces = len.div_ceil(PIECE);
        assert_eq!(steps.len(), 2 * pieces);
        assert_eq!(steps[pieces - 1], (Step::Writing, len as u64));
        assert_eq!(steps[2 * pieces - 1], (Step::Verifying, len as u64));
    }
}

#[test]
fn a_disk_that_holds_something_else_is_noticed() {
    let folder = Folder::new("differs");
    let len = PIECE + 1024;
    let image = Image::open(&folder.write("image", &bytes(len))).unwrap();
    for at in [0, 511, PIECE - 1, PIECE, len - 1] {
        let mut damaged = bytes(len);
        damaged[at] ^= 1;
        let disk = folder.write("disk", &damaged);
        let error = verify(&disk, &image, None, |_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("from byte {at} on")), "{error}");
    }
    let short = folder.write("short", &bytes(len)[..len - 512]);
    assert!(verify(&short, &image, None, |_| ()).is_err());
}

#[test]
fn what_would_not_boot_is_no_image() {
    let folder = Folder::new("image");
    for (content, reason) in [
        (vec![], "no disk image"),
        (vec![0; 4096], "no disk image"),
        (bytes(1025), "no disk image"),
        ([b"QFI\xFB".to_vec(), vec![0; 4096]].concat(), "qcow2"),
    ] {
        let error = Image::open(&folder.write("image", &content)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(Image::open(&folder.0.join("none")).is_err());
}

#[test]
fn another_disk_of_the_same_name_is_not_written_to() {
    let folder = Folder::new("another");
    let image = Image::open(&folder.write("image", &bytes(4096))).unwrap();
    let judged = Identity::of(&fs::metadata(folder.write("disk", &[1; 8192])).unwrap());
    let other = folder.write("other", &[2; 8192]);
    let error = flash(&other, &image, Some(judged), false, |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("another disk"), "{error}");
    assert!(verify(&other, &image, Some(judged), |_| ()).unwrap_err().to_string().contains("another disk"));
    assert_eq!(fs::read(&other).unwrap(), [2; 8192]);
}
