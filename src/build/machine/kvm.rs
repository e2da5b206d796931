//! Whether machines are carried out by the host's processor. A /dev/kvm that is there need not work: it may not be ours to open, and
//! under a hypervisor that does not pass it on, machines hang or abort. So it is tried, and once it has failed this daemon emulates.

use std::fs::File;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

/// The device.
pub const DEVICE: &str = "/dev/kvm";

static FAILED: AtomicBool = AtomicBool::new(false);

/// Whether a machine did not start with it.
pub fn failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// Why machines have to be emulated, if they have to.
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

/// A machine did not start with it. It is not tried again by this process.
pub fn has_failed() {
    FAILED.store(true, Ordering::Relaxed);
}
