//! Steps of long work, for those who wait for it.

use crate::chroots::MadeChroot;

/// A step that is done.
#[derive(Debug, Clone)]
pub enum Done {
    /// Something was made that was not there.
    Made(String),
    /// A chroot or an image is ready.
    Ready(MadeChroot),
    /// A chroot or an image was removed.
    Removed(MadeChroot),
}
