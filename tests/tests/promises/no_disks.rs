//! Without a disk it runs, says so, and shows crashes on serial.

use qemu::{Kind, Outcome};
use tests::oracle::crash_record;
use tests::recipe::noise;
use tests::{Scene, random_word};

#[test]
fn it_runs_and_says_that_there_is_no_console() {
    let report = Scene::new().run("app=diag", Outcome::Finished);
    assert!(report.serial_text().contains("no console"), "{report}");

    let mut scene = Scene::new();
    scene.add(Kind::Nvme, &noise(1 << 20, 5));
    let report = scene.run("app=diag", Outcome::Finished);
    assert!(report.serial_text().contains("no console"), "{report}");
}

#[test]
fn a_crash_is_on_the_serial_port() {
    let word = random_word();
    let outcome = Outcome::Crashed { durable_everywhere: false };
    let report = Scene::new().run(&format!("mark={word} crash=page-fault"), outcome);
    let lines: Vec<String> = report.serial_text().lines().map(str::to_owned).collect();
    let record = crash_record(&lines).unwrap().unwrap_or_else(|| panic!("{report}"));
    assert!(record[1].contains("page fault"), "{record:?}");
    assert!(report.serial_text().contains(&word));
}
