//! Finds out whether the host's processor can carry out machines. A /dev/kvm that is there need not
//! work: it may not be ours to open, and under a hypervisor that does not pass it on, machines hang
//! or abort. So we try it, and once it has failed this daemon emulates.

use std::fs::File;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

/// The device of KVM.
pub const DEVICE: &str = "/dev/kvm";

static FAILED: AtomicBool = AtomicBool::new(false);

/// Tells whether a machine did not start with KVM.
pub fn failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// Says why QEMU has to emulate machines, if it has to.
pub fn trouble() -> Option<String> {
    if failed() {
        return Some("a machine did not start with KVM".to_owned());
    }
    match File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound => Some(format!("there is no {DEVICE}")),
        Err(error) => Some(format!("{DEVICE} cannot be opened: {error}")),
    }
}

/// Notes that a machine did not start with KVM: this process does not try it again.
pub fn has_failed() {
    FAILED.store(true, Ordering::Relaxed);
}
