//! Finds disks: NVMe controllers and virtio disks, with or without PCI.

use super::disk::{Disk, Name, VirtioTransport};
use super::event::Event;
use super::pci::Config;
use super::platform::{Machine, PortRegisters};
use super::slots;
use crate::consoles;
use crate::crash::early::{self, Early};
use crate::crash::stations::{self, Station};
use crate::survey;
use alloc::boxed::Box;
use alloc::vec::Vec;
use block::{BlockDevice, State};
use log::{info, log, warn};
use pci::{ConfigSpace, Function};
use platform::Platform;
use virtio_blk::transport::{AnyTransport, Mmio, MmioPlace};

/// A device that has been started, and is not ready yet.
pub enum Starting {
    /// An NVMe controller.
    Nvme {
        /// Its number, for names.
        number: usize,
        /// The controller.
        controller: nvme::Controller<Machine>,
        /// What the crash path knows of it meanwhile.
        early: Option<&'static Early>,
    },
    /// A virtio disk and its crash port.
    Virtio {
        /// Its number, for names.
        number: usize,
        /// The disk.
        disk: Box<virtio_blk::Disk<Machine, VirtioTransport>>,
        /// Its crash port.
        station: &'static Station,
        /// What the crash path knows of it meanwhile.
        early: Option<&'static Early>,
    },
}

/// A disk that is ready, with what belongs to it.
pub struct Ready {
    /// What it is called.
    pub name: Name,
    /// The disk.
    pub disk: Disk,
    /// Its crash port.
    pub station: &'static Station,
}

/// What disks are reset together with, by its number among its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// An NVMe controller, with all its namespaces.
    Nvme(usize),
    /// A virtio disk by itself.
    Virtio(usize),
    /// None: a disk that is not there.
    None,
}

/// How a start went.
pub enum Progress {
    /// It goes on: poll again.
    Going(Starting),
    /// It is over, with these disks: none if the device did not come up. When their consoles are known, the crash path is to be
    /// told.
    Over(Vec<Ready>, Option<&'static Early>),
}

impl Starting {
    /// Goes on with the start. Does not wait.
    pub fn poll(self) -> Progress {
        match self {
            Self::Nvme { number, mut controller, early } => {
                controller.poll();
                log_events(number, &mut controller);
                match controller.state() {
                    State::Recovering => Progress::Going(Self::Nvme { number, controller, early }),
                    State::Ready => {
                        let ready = namespaces(number, &mut controller);
                        survey::keep_controller(number, controller);
                        Progress::Over(ready, early)
                    }
                    State::Dead(error) => {
                        warn!("nvme{number}: does not start: {error}");
                        survey::keep_controller(number, controller);
                        Progress::Over(Vec::new(), early)
                    }
                }
            }
            Self::Virtio { number, mut disk, station, early } => {
                // Nothing is in flight yet, so that there is nothing to be lost.
                let _ = disk.poll();
                let name = Name::virtio(number);
                match disk.state() {
                    State::Recovering => Progress::Going(Self::Virtio { number, disk, station, early }),
                    State::Ready => {
                        survey::describe_virtio(&name, disk.session());
                        Progress::Over(Vec::from([Ready { name, disk: Disk::virtio(*disk), station }]), early)
                    }
                    State::Dead(error) => {
                        survey::warning(format_args!("{name}: does not start: {error}: {}", disk.why()));
                        Progress::Over(Vec::new(), early)
                    }
                }
            }
        }
    }
}

fn log_events(number: usize, controller: &mut nvme::Controller<Machine>) {
    while let Some(event) = controller.next_event().map(Event::Nvme) {
        log!(event.level(), "nvme{number}: {event}");
    }
}

fn namespaces(number: usize, controller: &mut nvme::Controller<Machine>) -> Vec<Ready> {
    let ports = controller.take_crash_ports();
    let namespaces = controller.take_namespaces();
    let ready = |(namespace, port): (nvme::Namespace<Machine>, nvme::CrashPort<Machine>)| {
        let name = Name::nvme(number, namespace.info().id);
        survey::describe_namespace(&name, namespace.info());
        match stations::open(name, Controller::Nvme(number), Disk::nvme_crash(port)) {
            Some(station) => Some(Ready { name, disk: Disk::nvme(namespace), station }),
            None => {
                survey::warning(format_args!("{name}: there are too many disks"));
                None
            }
        }
    };
    namespaces.into_iter().zip(ports).filter_map(ready).collect()
}

/// Starts all devices on PCI.
pub fn start_pci(config: &Config, numbers: &mut Numbers) -> Vec<Starting> {
    let mut started = Vec::new();
    for function in config.functions() {
        slots::watch(&function);
        let identity = function.identity();
        if identity.class.code() == pci::spec::class::NVME {
            started.extend(start_nvme(&function, numbers));
        } else if virtio_blk::pci::is_virtio_block(&function) {
            started.extend(start_virtio(&function, numbers));
        } else if (identity.class.base, identity.class.sub) == pci::spec::class::RAID {
            survey::warning(format_args!(
                "disks behind the RAID controller at {} are not seen: switch RAID and VMD off in the machine's setup",
                function.address()
            ));
        }
    }
    started
}

/// Numbers that names are made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    nvme: usize,
    virtio: usize,
}

fn next(number: &mut usize) -> usize {
    let this = *number;
    *number += 1;
    this
}

fn start_nvme<C: ConfigSpace + ?Sized>(function: &Function<'_, C>, numbers: &mut Numbers) -> Option<Starting> {
    match nvme::attach(Machine, function, nvme_config()) {
        Ok(controller) => {
            let number = next(&mut numbers.nvme);
            let early = early::watch_nvme(number, controller.crash_controller());
            slots::note_disk(function.address(), Name::nvme(number, 1));
            Some(Starting::Nvme { number, controller, early })
        }
        Err(error) => {
            survey::warning(format_args!("NVMe controller at {} is left alone: {error}", function.address()));
            None
        }
    }
}

/// The driver's defaults, but for what the command line says.
fn nvme_config() -> nvme::Config {
    let mut config = nvme::Config::default();
    if let Some(patience_ns) = patience_ns() {
        config.timeouts.progress_ns = patience_ns;
        config.timeouts.command_ns = patience_ns.saturating_mul(3);
        config.timeouts.abort_ns = config.timeouts.abort_ns.min(patience_ns);
    }
    config
}

fn virtio_timeouts() -> virtio_blk::Timeouts {
    let defaults = virtio_blk::Timeouts::DEFAULT;
    patience_ns().map_or(defaults, |request_ns| virtio_blk::Timeouts {
        request_ns,
        patience_ns: request_ns.saturating_mul(2),
        ..defaults
    })
}

/// How long a disk may take to answer, where the command line says so.
fn patience_ns() -> Option<u64> {
    consoles::settings().and_then(|settings| settings.disk_patience_ns)
}

fn start_virtio<C: ConfigSpace + ?Sized>(function: &Function<'_, C>, numbers: &mut Numbers) -> Option<Starting> {
    let device = match virtio_blk::pci::probe(&Machine, function) {
        Ok(device) => device,
        Err(error) => {
            survey::warning(format_args!("virtio disk at {} is left alone: {error}", function.address()));
            return None;
        }
    };
    // SAFETY: the ports are those that the device's own base address register names, and its driver gets them.
    let ports = |first, len| unsafe { PortRegisters::new(first, len) };
    let transports = device.open(&Machine, ports).zip(device.open(&Machine, ports));
    let opened = transports.and_then(|(main, crash)| virtio_blk::open(Machine, main, crash));
    let Some((disk, port)) = opened else {
        survey::warning(format_args!("virtio disk at {} is left alone: not enough memory", function.address()));
        return None;
    };
    let starting = watch_virtio(disk, port, numbers)?;
    if let Starting::Virtio { number, .. } = &starting {
        slots::note_disk(function.address(), Name::virtio(*number));
    }
    Some(starting)
}

fn watch_virtio(
    mut disk: virtio_blk::Disk<Machine, VirtioTransport>,
    port: virtio_blk::CrashPort<Machine, VirtioTransport>,
    numbers: &mut Numbers,
) -> Option<Starting> {
    disk.set_timeouts(virtio_timeouts());
    let number = next(&mut numbers.virtio);
    let name = Name::virtio(number);
    let Some(station) = stations::open(name, Controller::Virtio(number), Disk::virtio_crash(port)) else {
        survey::warning(format_args!("{name}: there are too many disks"));
        return None;
    };
    let early = early::watch_virtio(station);
    Some(Starting::Virtio { number, disk: Box::new(disk), station, early })
}

/// Starts the devices that the command line names, or else the firmware's byte code, as virtual machines without PCI do.
pub fn start_mmio<'a>(words: impl Iterator<Item = &'a str>, firmware: &[u8], numbers: &mut Numbers) -> Vec<Starting> {
    let mut places: Vec<_> = words.filter_map(MmioPlace::parse).collect();
    if places.is_empty() {
        places.extend(MmioPlace::find_all(firmware));
    }
    // A second driver would reset the device under the first one's feet.
    let mut known = Vec::new();
    places.retain(|place| {
        let is_new = !known.contains(&place.bus_address);
        match is_new {
            true => known.push(place.bus_address),
            false => info!("virtio-mmio device at {:#x}: named before", place.bus_address),
        }
        is_new
    });
    places.into_iter().filter_map(|place| start_one_mmio(place, numbers)).collect()
}

fn start_one_mmio(place: MmioPlace, numbers: &mut Numbers) -> Option<Starting> {
    let map = || {
        let registers = Machine.map_registers(place.bus_address, place.len);
        if registers.is_none() {
            survey::warning(format_args!("virtio-mmio device at {:#x}: cannot be mapped", place.bus_address));
        }
        registers
    };
    // A window without a disk in it is usual: the command line names all slots.
    let main = AnyTransport::Mmio(Mmio::probe(map()?).ok()?);
    let crash = AnyTransport::Mmio(Mmio::probe(map()?).ok()?);
    let Some((disk, port)) = virtio_blk::open(Machine, main, crash) else {
        survey::warning(format_args!("virtio disk at {:#x} is left alone: not enough memory", place.bus_address));
        return None;
    };
    watch_virtio(disk, port, numbers)
}
