//! Chroots and images: what builds run in.

use serde::{Deserialize, Serialize};

use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::{Architecture, Distro};

/// What is made of a distro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A chroot.
    Chroot,
    /// An image of virtual machines.
    Image,
}

impl Form {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Chroot => "chroot",
            Self::Image => "image",
        }
    }
}

/// The request to make a chroot or an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChrootRequest {
    /// The distro.
    pub distro: Distro,
    /// The architecture; `None`: this machine's.
    pub architecture: Option<Architecture>,
    /// Which of both.
    pub form: Form,
}

/// A chroot or an image that was made.
#[derive(Debug, Clone, Serialize)]
pub struct MadeChroot {
    /// Which of both it is.
    pub form: Form,
    /// What is in it.
    #[serde(flatten)]
    pub manifest: Manifest,
}
