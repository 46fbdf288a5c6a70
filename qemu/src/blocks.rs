//! A disk as block nodes of QEMU, from image to device.
//!
//! ```text
//!   device ── [throttle] ── [blklogwrites] ── raw ── [blkdebug] ── file
//! ```
//!
//! `raw` must stand right on top of `blkdebug`, since it is what raises the `write_aio` events that are counted.

use std::fs::File;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Disk;
use crate::fault::blkdebug_rules;

/// QEMU options (each one after `-object` or `-blockdev`) that make a disk, and the node that the device goes on.
pub(crate) struct Blocks {
    pub(crate) options: Vec<(&'static str, Value)>,
    pub(crate) top: String,
}

/// Makes the nodes of a disk; `id` is unique in the machine, and the name of its device.
pub(crate) fn blocks(disk: &Disk, id: &str) -> Result<Blocks> {
    let mut options = Vec::new();
    let mut top = format!("{id}-file");
    options.push(("-blockdev", json!({ "driver": "file", "node-name": top, "filename": disk.image()? })));

    if !disk.faults.is_empty() {
        let (errors, states) = blkdebug_rules(&disk.faults)?;
        let name = format!("{id}-faults");
        let mut node = json!({ "driver": "blkdebug", "node-name": name, "image": top });
        if !errors.is_empty() {
            node["inject-error"] = errors.into();
        }
        if !states.is_empty() {
            node["set-state"] = states.into();
        }
        options.push(("-blockdev", node));
        top = name;
    }

    let name = format!("{id}-raw");
    options.push(("-blockdev", json!({ "driver": "raw", "node-name": name, "file": top })));
    top = name;

    if let Some(path) = &disk.write_log {
        File::create(path).with_context(|| format!("cannot make the write log {}", path.display()))?;
        let name = format!("{id}-log");
        options.push((
            "-blockdev",
            json!({
                "driver": "blklogwrites", "node-name": name, "file": top,
                "log": { "driver": "file", "filename": path },
                "log-sector-size": disk.block_size,
                // The entries are counted in the log's first sector: after each one, since QEMU may be killed.
                "log-super-update-interval": 1,
            }),
        ));
        top = name;
    }

    if let Some(limit) = disk.slow {
        let group = format!("{id}-limit");
        options
            .push(("-object", json!({ "qom-type": "throttle-group", "id": group, "limits": { "iops-write": limit } })));
        let name = format!("{id}-throttle");
        options.push((
            "-blockdev",
            json!({ "driver": "throttle", "node-name": name, "throttle-group": group, "file": top }),
        ));
        top = name;
    }
    Ok(Blocks { options, top })
}
