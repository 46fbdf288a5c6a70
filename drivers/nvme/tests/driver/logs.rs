//! Health and error logs.

use block::{ErrorKind, State};
use nvme::{Log, LogKind};

use crate::bench::{Bench, ready};
use crate::model::{Options, Verdict, lock};

fn log(bench: &mut Bench, kind: LogKind) -> Result<Log, block::Error> {
    bench.controller.request_log(kind).unwrap();
    assert_eq!(bench.controller.request_log(kind).unwrap_err().kind, ErrorKind::QueueFull);
    for _ in 0..100 {
        if let Some(log) = bench.controller.take_log() {
            assert!(bench.controller.take_log().is_none());
            return log;
        }
        bench.turn();
        bench.controller.poll();
    }
    panic!("no log");
}

#[test]
fn health_and_errors_can_be_read() {
    let mut bench = ready(Options::default());
    let Ok(Log::Health(health)) = log(&mut bench, LogKind::Health) else { panic!() };
    assert_eq!((health.celsius, health.available_spare), (Some(27), 100));
    let Ok(Log::Errors(errors)) = log(&mut bench, LogKind::Errors) else { panic!() };
    let error = errors[0].unwrap();
    assert_eq!((error.number, error.block, error.namespace), (3, 99, 1));
    assert_eq!(error.status.to_string(), "media error: unrecovered read error (2/81h)");
    assert!(errors[1].is_none());
    bench.assert_clean();
}

#[test]
fn a_log_that_is_refused_is_an_error() {
    let mut bench = ready(Options::default());
    lock(&bench.device).judge(|entry| if entry.is_io() { Verdict::Obey } else { Verdict::Fail(0x4109) });
    assert_eq!(log(&mut bench, LogKind::Health).unwrap_err().device_status, 0x109);
    assert_eq!(bench.controller.state(), State::Ready);
}

#[test]
fn no_log_while_the_controller_is_not_ready() {
    let mut bench = ready(Options::default());
    bench.controller.recover();
    assert_eq!(bench.controller.request_log(LogKind::Health).unwrap_err().kind, ErrorKind::NotReady);
    bench.settle();
    assert!(log(&mut bench, LogKind::Health).is_ok());
}
