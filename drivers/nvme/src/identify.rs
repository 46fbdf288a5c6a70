//! Who a controller and its namespaces are, out of what Identify returns.

use core::fmt;
use core::mem::offset_of;

use block::Access;

use crate::bytes::{Text, array, le8, le16, le32, le64};
use crate::spec::identify::{
    BlockFormat, Controller, DPS_TYPE, Descriptor, NMIC_SHARED, NSATTR_WRITE_PROTECTED, Namespace, ONCS_WRITE_ZEROES,
    SGLS_SUPPORT, VWC_PRESENT, command_set, controller_type, descriptor_type,
};
use crate::spec::register::Capabilities;

/// What a controller says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerInfo {
    /// PCI vendor id.
    pub vendor: u16,
    /// Serial number.
    pub serial: Text<20>,
    /// Model.
    pub model: Text<40>,
    /// Firmware revision.
    pub firmware: Text<8>,
    /// The subsystem's qualified name: the same for all controllers of a subsystem, and for no other.
    pub subsystem: Text<256>,
    /// Controller id within the subsystem.
    pub controller_id: u16,
    /// The specification's version that it keeps to: major << 16 | minor << 8 | tertiary. 0 = older than 1.2.
    pub version: u32,
    /// The most bytes that a command may carry; `None` = it names no limit.
    pub max_transfer_bytes: Option<u64>,
    /// The highest namespace id.
    pub max_namespace_id: u32,
    /// It has a volatile write cache, on or off.
    pub has_write_cache: bool,
    /// It has Write Zeroes.
    pub has_write_zeroes: bool,
    /// Its I/O commands take scatter gather lists.
    pub has_scatter_gather: bool,
    /// The delays that a status may ask for before a retry, in ns.
    pub retry_delays_ns: [u64; 3],
    /// How long a shutdown may take, in ns; 0 = not said.
    pub shutdown_ns: u64,
    /// Entries that its error log has.
    pub error_log_entries: u16,
}

impl ControllerInfo {
    /// A number for a namespace of this subsystem that several controllers may lead to; 0 if the subsystem has no name. Some
    /// makers give all their disks the same name, so that model and serial number count as well, which a subsystem's
    /// controllers have in common.
    pub(crate) fn place_of(&self, namespace: u32) -> u64 {
        // FNV-1a.
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        if self.subsystem.0.first() == Some(&0) {
            return 0;
        }
        let names = self.subsystem.0.iter().chain(&self.model.0).chain(&self.serial.0);
        let bytes = names.copied().chain(namespace.to_le_bytes());
        bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    }

    /// Reads an Identify Controller data structure.
    ///
    /// # Errors
    /// In words, why this controller cannot be used.
    pub(crate) fn parse(page: &[u8], capabilities: Capabilities) -> Result<Self, &'static str> {
        if page.iter().all(|byte| *byte == 0) {
            return Err("the identify data are all zero");
        }
        if !matches!(le8(page, offset_of!(Controller, cntrltype)), controller_type::NOT_REPORTED | controller_type::IO)
        {
            return Err("not an I/O controller");
        }
        if le8(page, offset_of!(Controller, sqes)) & 0xF > 6 || le8(page, offset_of!(Controller, cqes)) & 0xF > 4 {
            return Err("queue entries of unknown size are required");
        }
        let mdts = u32::from(le8(page, offset_of!(Controller, mdts)));
        let delay = |index: usize| u64::from(le16(page, offset_of!(Controller, crdt) + 2 * index)) * 100_000_000;
        Ok(Self {
            vendor: le16(page, offset_of!(Controller, vid)),
            serial: Text(array(page, offset_of!(Controller, sn))),
            model: Text(array(page, offset_of!(Controller, mn))),
            firmware: Text(array(page, offset_of!(Controller, fr))),
            subsystem: Text(array(page, offset_of!(Controller, subnqn))),
            controller_id: le16(page, offset_of!(Controller, cntlid)),
            version: le32(page, offset_of!(Controller, ver)),
            // A limit that 64 bits cannot hold is none.
            max_transfer_bytes: (mdts != 0).then(|| 1u64.checked_shl(mdts + capabilities.min_page_shift())).flatten(),
            max_namespace_id: le32(page, offset_of!(Controller, nn)),
            has_write_cache: le8(page, offset_of!(Controller, vwc)) & VWC_PRESENT != 0,
            has_write_zeroes: le16(page, offset_of!(Controller, oncs)) & ONCS_WRITE_ZEROES != 0,
            has_scatter_gather: matches!(le32(page, offset_of!(Controller, sgls)) & SGLS_SUPPORT, 1 | 2),
            retry_delays_ns: [delay(0), delay(1), delay(2)],
            shutdown_ns: u64::from(le32(page, offset_of!(Controller, rtd3e))) * 1000,
            error_log_entries: u16::from(le8(page, offset_of!(Controller, elpe))) + 1,
        })
    }

    /// Whether this can be the controller that `other` was.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        (self.vendor, self.serial, self.model, self.controller_id)
            == (other.vendor, other.serial, other.model, other.controller_id)
    }
}

impl fmt::Display for ControllerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, tertiary) = (self.version >> 16, self.version >> 8 & 0xFF, self.version & 0xFF);
        write!(f, "{}, serial {}, firmware {}", self.model, self.serial, self.firmware)?;
        write!(f, ", NVMe {major}.{minor}.{tertiary}")?;
        match self.max_transfer_bytes {
            Some(bytes) => write!(f, ", {} KiB a command", bytes >> 10)?,
            None => f.write_str(", no transfer limit")?,
        }
        f.write_str(if self.has_write_cache { ", volatile write cache" } else { ", no write cache" })
    }
}

/// Globally unique names of a namespace, as far as it has any: all zeroes where it has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceNames {
    /// IEEE extended unique identifier.
    pub eui64: [u8; 8],
    /// Namespace globally unique identifier.
    pub nguid: [u8; 16],
    /// UUID.
    pub uuid: [u8; 16],
    /// A number made of the subsystem's names and the namespace's id, if other controllers of the subsystem may lead to it as
    /// well: they know it by the same id (base 3.2.1.3). 0 = none do.
    pub place: u64,
}

impl NamespaceNames {
    /// These names, completed by others of the same namespace.
    pub(crate) fn or(&self, other: &Self) -> Self {
        fn first<const N: usize>(a: [u8; N], b: [u8; N]) -> [u8; N] {
            if a == [0; N] { b } else { a }
        }
        Self {
            eui64: first(self.eui64, other.eui64),
            nguid: first(self.nguid, other.nguid),
            uuid: first(self.uuid, other.uuid),
            place: if self.place == 0 { other.place } else { self.place },
        }
    }

    /// Whether both name the same medium, which a subsystem may offer through several controllers. Two
    /// namespaces without names are not known to be the same.
    pub fn is_same_medium(&self, other: &Self) -> bool {
        fn agree<const N: usize>(a: &[u8; N], b: &[u8; N]) -> bool {
            a == b && *a != [0; N]
        }
        agree(&self.uuid, &other.uuid)
            || agree(&self.nguid, &other.nguid)
            || agree(&self.eui64, &other.eui64)
            || self.place != 0 && self.place == other.place
    }
}

/// A namespace's names and command set, out of its descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) names: NamespaceNames,
    pub(crate) command_set: u8,
}

impl Described {
    /// Reads a list of namespace identification descriptors. Whatever is unknown or cut off is left out.
    pub(crate) fn parse(page: &[u8]) -> Self {
        let mut described = Self { names: NamespaceNames::default(), command_set: command_set::NVM };
        let mut offset = 0;
        // Each turn moves on by at least a descriptor's head, so the list's end is reached.
        while offset + size_of::<Descriptor>() <= page.len() {
            let (kind, len) = (le8(page, offset), usize::from(le8(page, offset + offset_of!(Descriptor, len))));
            let id = offset + size_of::<Descriptor>();
            if len == 0 || id + len > page.len() {
                break;
            }
            match (kind, len) {
                (descriptor_type::EUI64, 8) => described.names.eui64 = array(page, id),
                (descriptor_type::NGUID, 16) => described.names.nguid = array(page, id),
                (descriptor_type::UUID, 16) => described.names.uuid = array(page, id),
                (descriptor_type::COMMAND_SET, 1) => described.command_set = le8(page, id),
                _ => {}
            }
            offset = id + len;
        }
        described
    }
}

/// A namespace that can be used at least for reading, or is known to hold blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its id.
    pub id: u32,
    /// Bytes a block.
    pub block_size: u32,
    /// Number of blocks.
    pub block_count: u64,
    /// Metadata bytes that belong to each block; if there are any it can be neither read nor written here.
    pub metadata_bytes: u16,
    /// Whether it takes writes.
    pub access: Access,
    /// Several controllers may lead to it.
    pub is_shared: bool,
    /// Its names.
    pub names: NamespaceNames,
}

impl NamespaceInfo {
    /// Reads an Identify Namespace data structure of a namespace with this command set.
    ///
    /// # Errors
    /// In words, why this namespace cannot be used at all.
    pub(crate) fn parse(id: u32, page: &[u8], set: u8) -> Result<Self, &'static str> {
        match set {
            command_set::NVM | command_set::ZONED => {}
            command_set::KEY_VALUE => return Err("a key value namespace has no blocks"),
            _ => return Err("its command set is unknown"),
        }
        let block_count = le64(page, offset_of!(Namespace, nsze));
        if block_count == 0 {
            return Err("it has no blocks");
        }
        let formats = usize::from(le8(page, offset_of!(Namespace, nlbaf))) + 1;
        let in_use = le8(page, offset_of!(Namespace, flbas));
        let high_bits = if formats > 16 { usize::from(in_use >> 5 & 0b11) << 4 } else { 0 };
        let index = high_bits | usize::from(in_use & 0xF);
        if index >= formats {
            return Err("its format does not exist");
        }
        let format = offset_of!(Namespace, lbaf) + index * size_of::<BlockFormat>();
        let shift = le8(page, format + offset_of!(BlockFormat, lbads));
        if !(9..=16).contains(&shift) {
            return Err("its blocks are not of 512 bytes to 64 KiB");
        }
        let metadata_bytes = le16(page, format);
        Ok(Self {
            id,
            block_size: 1 << shift,
            block_count,
            metadata_bytes,
            access: Self::access(page, set, metadata_bytes),
            is_shared: le8(page, offset_of!(Namespace, nmic)) & NMIC_SHARED != 0,
            names: NamespaceNames {
                eui64: array(page, offset_of!(Namespace, eui64)),
                nguid: array(page, offset_of!(Namespace, nguid)),
                uuid: [0; 16],
                place: 0,
            },
        })
    }

    fn access(page: &[u8], set: u8, metadata_bytes: u16) -> Access {
        if set == command_set::ZONED {
            Access::ReadOnly("zoned namespace")
        } else if le8(page, offset_of!(Namespace, dps)) & DPS_TYPE != 0 {
            Access::ReadOnly("its format has protection information")
        } else if metadata_bytes != 0 {
            Access::ReadOnly("its format has metadata")
        } else if le8(page, offset_of!(Namespace, nsattr)) & NSATTR_WRITE_PROTECTED != 0 {
            Access::ReadOnly("namespace is write protected")
        } else {
            Access::ReadWrite
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn namespace(format: u8, formats: u8) -> Vec<u8> {
        let mut page = std::vec![0; 4096];
        page[..8].copy_from_slice(&1000u64.to_le_bytes());
        page[25] = formats - 1;
        page[26] = format;
        page[128 + 2] = 9;
        page[128 + 4 + 2] = 12;
        page[128 + 8] = 8;
        page[128 + 8 + 2] = 9;
        page[128 + 4 * 17 + 2] = 13;
        page
    }

    fn parse(page: &[u8]) -> Result<NamespaceInfo, &'static str> {
        NamespaceInfo::parse(1, page, command_set::NVM)
    }

    #[test]
    fn formats_are_found_also_beyond_the_sixteenth() {
        assert_eq!(parse(&namespace(0, 2)).unwrap().block_size, 512);
        assert_eq!(parse(&namespace(1, 2)).unwrap().block_size, 4096);
        assert_eq!(parse(&namespace(1 | 1 << 5, 18)).unwrap().block_size, 8192);
        assert_eq!(parse(&namespace(1 | 1 << 5, 2)).unwrap().block_size, 4096);
        assert!(parse(&namespace(2, 2)).is_err());
        assert!(parse(&namespace(3, 5)).is_err());
    }

    #[test]
    fn what_must_not_be_written_says_why() {
        let with_metadata = parse(&namespace(2, 3)).unwrap();
        assert_eq!(with_metadata.metadata_bytes, 8);
        assert_eq!(with_metadata.access, Access::ReadOnly("its format has metadata"));
        let mut protected = namespace(0, 1);
        protected[99] = 1;
        assert_eq!(parse(&protected).unwrap().access, Access::ReadOnly("namespace is write protected"));
        let mut checked = namespace(2, 3);
        checked[29] = 1;
        assert_eq!(parse(&checked).unwrap().access, Access::ReadOnly("its format has protection information"));
        let zoned = NamespaceInfo::parse(1, &namespace(0, 1), command_set::ZONED).unwrap();
        assert_eq!(zoned.access, Access::ReadOnly("zoned namespace"));
    }

    #[test]
    fn sizes_of_zero_and_unknown_command_sets_are_refused() {
        let mut empty = namespace(0, 1);
        empty[..8].fill(0);
        assert!(parse(&empty).is_err());
        assert!(parse(&[0; 4096]).is_err());
        assert!(parse(&[]).is_err());
        for set in [1, 3, 255] {
            assert!(NamespaceInfo::parse(1, &namespace(0, 1), set).is_err());
        }
    }

    #[test]
    fn descriptors_that_are_cut_off_or_unknown_do_no_harm() {
        let mut page = std::vec![0xEE; 64];
        page[..4].copy_from_slice(&[4, 1, 0, 0]);
        page[4] = 2;
        page[5..9].copy_from_slice(&[9, 3, 0, 0]);
        page[12..16].copy_from_slice(&[3, 16, 0, 0]);
        page[32..36].copy_from_slice(&[2, 16, 0, 0]);
        let described = Described::parse(&page[..40]);
        assert_eq!(described.command_set, 2);
        assert_eq!(described.names.uuid, [0xEE; 16]);
        assert_eq!(described.names.nguid, [0; 16]);
        assert_eq!(Described::parse(&[]), Described::default());
    }

    #[test]
    fn names_that_are_missing_prove_nothing() {
        let named = NamespaceNames { eui64: [7; 8], ..NamespaceNames::default() };
        assert!(named.is_same_medium(&named));
        assert!(!NamespaceNames::default().is_same_medium(&NamespaceNames::default()));
    }

    #[test]
    fn a_place_in_a_subsystem_names_a_namespace() {
        let mut page = [0; 4096];
        page[0] = 1;
        page[4..8].copy_from_slice(b"0001");
        let unnamed = ControllerInfo::parse(&page, Capabilities(0)).unwrap();
        assert_eq!(unnamed.place_of(1), 0, "a subsystem without a name");
        page[768..772].copy_from_slice(b"nqn.");
        let first = ControllerInfo::parse(&page, Capabilities(0)).unwrap();
        page[78] = 1; // Another controller of it.
        let second = ControllerInfo::parse(&page, Capabilities(0)).unwrap();
        page[4] = b'1';
        let other = ControllerInfo::parse(&page, Capabilities(0)).unwrap();
        assert_eq!(first.place_of(1), second.place_of(1));
        let places = [first.place_of(1), first.place_of(2), other.place_of(1), 0];
        assert!((1..4).all(|after| !places[after..].contains(&places[after - 1])), "{places:?}");
    }

    #[test]
    fn a_controller_must_say_something() {
        let capabilities = Capabilities(0);
        assert!(ControllerInfo::parse(&[0; 4096], capabilities).is_err());
        let mut page = [0; 4096];
        page[0] = 1;
        page[77] = 5;
        let info = ControllerInfo::parse(&page, capabilities).unwrap();
        assert_eq!(info.max_transfer_bytes, Some(128 << 10));
        page[77] = 255;
        assert_eq!(ControllerInfo::parse(&page, capabilities).unwrap().max_transfer_bytes, None);
        page[111] = 2;
        assert!(ControllerInfo::parse(&page, capabilities).is_err());
        page[111] = 1;
        page[512] = 0x77;
        assert!(ControllerInfo::parse(&page, capabilities).is_err());
    }
}
