//! What a console is doing, and which tiles it is concerned with.

use super::mount::Mount;
use super::next_tile::NextTile;
use crate::series::Kept;

/// What a console is doing.
#[expect(clippy::large_enum_variant, reason = "there is no heap, and one of it a console")]
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Nothing: it has stopped, for good or until it is reattached.
    Idle,
    Mounting(Mount),
    Logging,
    /// After a crash: the device is being reset.
    Recovering {
        asked: bool,
    },
    /// After a crash: the header is read again before anything is written.
    Verifying,
    /// After a crash: everything is written.
    Closing,
}

/// Which tiles the console is concerned with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    /// Uuid and boot number, once mounted.
    pub(super) identity: Option<Identity>,
    pub(super) current: Option<Current>,
    pub(super) next: NextTile,
    pub(super) kept: Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uuid: u32,
    pub(super) boot: u32,
}

/// The tile that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) tile: u32,
    pub(super) round: u32,
    /// Where the next fill begins: everything before it has been handed out.
    pub(super) base: u32,
    /// The end of the furthest write that was ever submitted.
    pub(super) high: u32,
    /// Whether its header has been written.
    pub(super) has_header: bool,
    /// Whether that is durable.
    pub(super) is_durable: bool,
}
