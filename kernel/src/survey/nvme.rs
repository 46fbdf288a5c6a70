//! NVMe controllers: names, health, latest errors, self-tests.

use super::bytes::Quoted;
use super::{TARGET, finding};
use crate::arch::clock;
use crate::devices::platform::Machine;
use crate::start::Hex;
use alloc::format;
use alloc::vec::Vec;
use block::State;
use core::fmt;
use log::info;
use nvme::{Controller, ControllerInfo, Health, Log, LogKind, NamespaceInfo, SelfTest};
use spin::Mutex;

/// Most controllers that are kept.
const MAX: usize = 32;
/// How long a log page may take.
const PATIENCE_NS: u64 = 1_000_000_000;
/// Errors that are shown.
const SHOWN_ERRORS: usize = 4;

/// Controllers that have come up or not, by their number.
static CONTROLLERS: Mutex<Vec<(usize, Controller<Machine>)>> = Mutex::new(Vec::new());

/// Keeps a controller whose namespaces were taken, or that did not start, to ask it later.
pub fn keep(number: usize, controller: Controller<Machine>) {
    let mut controllers = CONTROLLERS.lock();
    if super::is_on() && controllers.len() < MAX {
        controllers.push((number, controller));
    }
}

/// Asks each controller. `pump` is called while one is waited for.
pub(super) fn describe(mut pump: impl FnMut()) {
    let mut controllers = core::mem::take(&mut *CONTROLLERS.lock());
    for (number, controller) in &mut controllers {
        let name = Name(*number);
        if let Some(info) = controller.info() {
            describe_controller(name, &info);
        }
        if let State::Dead(error) = controller.state() {
            match controller.failure() {
                Some(failure) => finding(format_args!("{name}: it does not work: {failure:?}")),
                None => finding(format_args!("{name}: it does not work: {error}")),
            }
            continue;
        }
        match ask(controller, LogKind::Health, &mut pump) {
            Some(Log::Health(health)) => describe_health(name, &health),
            _ => finding(format_args!("{name}: it does not say how it is")),
        }
        if let Some(Log::Errors(errors)) = ask(controller, LogKind::Errors, &mut pump) {
            info!(target: TARGET, "nvme: {name} logged_errors={}", errors.iter().flatten().count());
            for error in errors.iter().flatten().take(SHOWN_ERRORS) {
                info!(target: TARGET, "nvme: {name} {error}");
            }
        }
        if let Some(Log::SelfTest(test)) = ask(controller, LogKind::SelfTest, &mut pump) {
            describe_self_test(name, test);
        } else {
            info!(target: TARGET, "nvme: {name} self_test=unsupported");
        }
    }
    *CONTROLLERS.lock() = controllers;
}

#[derive(Clone, Copy)]
struct Name(usize);

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "nvme{}", self.0)
    }
}

/// A log page; `None` if the controller does not have it, or does not answer.
fn ask(controller: &mut Controller<Machine>, kind: LogKind, pump: &mut impl FnMut()) -> Option<Log> {
    let until = clock::now_ns().saturating_add(PATIENCE_NS);
    let mut is_asked = false;
    while clock::now_ns() < until && !matches!(controller.state(), State::Dead(_)) {
        is_asked = is_asked || controller.request_log(kind).is_ok();
        controller.poll();
        if let Some(log) = controller.take_log().filter(|_| is_asked) {
            return log.ok();
        }
        pump();
    }
    None
}

fn describe_controller(name: Name, info: &ControllerInfo) {
    info!(
        target: TARGET,
        "nvme: {name} vendor={:04x} model={} serial={} firmware={} version={}.{}.{} controller_id={} namespaces={} max_transfer={} write_cache={} write_zeroes={} error_log={}",
        info.vendor,
        Quoted(format!("{}", info.model).as_bytes()),
        Quoted(format!("{}", info.serial).as_bytes()),
        Quoted(format!("{}", info.firmware).as_bytes()),
        info.version >> 16,
        info.version >> 8 & 0xFF,
        info.version & 0xFF,
        info.controller_id,
        info.max_namespace_id,
        info.max_transfer_bytes.unwrap_or(0),
        info.has_write_cache,
        info.has_write_zeroes,
        info.error_log_entries
    );
    info!(target: TARGET, "nvme: {name} subsystem={}", Quoted(format!("{}", info.subsystem).as_bytes()));
}

/// Logs what a namespace is, if there is a survey.
pub fn describe_namespace(name: &crate::devices::disk::Name, info: &NamespaceInfo) {
    if !super::is_on() {
        return;
    }
    let names = &info.names;
    info!(
        target: TARGET,
        "nvme: {name} id={} blocks={} block_size={} metadata={} shared={} access={:?} eui64={} nguid={} uuid={}",
        info.id,
        info.block_count,
        info.block_size,
        info.metadata_bytes,
        info.is_shared,
        info.access,
        Hex(&names.eui64),
        Hex(&names.nguid),
        Hex(&names.uuid)
    );
}

fn describe_health(name: Name, health: &Health) {
    let celsius = fmt::from_fn(|f| match health.celsius {
        Some(celsius) => write!(f, "{celsius}"),
        None => f.write_str("unknown"),
    });
    info!(
        target: TARGET,
        "nvme: {name} health=0x{:02x} celsius={celsius} used_percent={} spare_percent={} read_mb={} written_mb={} power_cycles={} power_on_hours={} unsafe_shutdowns={} media_errors={} errors_ever={}",
        health.critical_warning,
        health.percentage_used,
        health.available_spare,
        health.bytes_read / 1_000_000,
        health.bytes_written / 1_000_000,
        health.power_cycles,
        health.power_on_hours,
        health.unsafe_shutdowns,
        health.media_errors,
        health.error_log_entries
    );
    for warning in health.warnings() {
        finding(format_args!("{name}: SMART: {warning}"));
    }
    if health.media_errors > 0 {
        finding(format_args!("{name}: SMART: {} unrecovered media errors", health.media_errors));
    }
    if health.percentage_used >= 100 {
        finding(format_args!("{name}: SMART: {} % of its life is used", health.percentage_used));
    }
}

fn describe_self_test(name: Name, test: SelfTest) {
    match test.running {
        Some(percent) => info!(target: TARGET, "nvme: {name} self_test=running percent={percent}"),
        None => info!(target: TARGET, "nvme: {name} self_test=idle"),
    }
    let Some((result, hours)) = test.last else {
        info!(target: TARGET, "nvme: {name} last_self_test=never");
        return;
    };
    info!(target: TARGET, "nvme: {name} last_self_test=\"{}\" at_hours={hours}", result.words());
    if result.is_failure() {
        finding(format_args!("{name}: its last self-test failed: {}", result.words()));
    }
}
