//! The daemon's certificate for nodes. It lives as long as the daemon does, and only in memory:
//! nodes know it by its digest, which their script has.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest, Sha256};

/// The name in the certificate. Nodes look at its digest and at nothing else.
const NAME: &str = "invirtibuilderd";

/// A new certificate, and what serves by it.
pub struct ServerIdentity {
    /// How connections are accepted.
    pub config: Arc<ServerConfig>,
    /// The SHA-256 of the certificate, in hexadecimal.
    pub digest: String,
}

impl ServerIdentity {
    /// Makes a key and a certificate.
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])
            .context("a certificate for nodes cannot be made")?;
        let certificate = made.cert.der().clone();
        let digest = invirtibuilder_core::text::hex(&Sha256::digest(&certificate));
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())?;
        Ok(Self { config: Arc::new(config), digest })
    }
}
