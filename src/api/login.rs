//! Sessions of people who have signed in with a ticket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use invirtibuilder_core::names::Principal;
use invirtibuilder_core::text::hex;

/// What a session's secret begins with.
pub const SESSION_PREFIX: &str = "ivs_";

/// What a token's secret begins with.
pub const TOKEN_PREFIX: &str = "ivt_";

/// The header of a changing request that says that the page it comes from is ours.
pub const FORGERY_HEADER: &str = "x-csrf-token";

/// A session that has just begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewLogin {
    /// Who has signed in.
    pub principal: Principal,
    /// The secret that later requests carry, as a bearer token (RFC 6750).
    pub secret: String,
    /// When it ends, in milliseconds since 1970-01-01 UTC.
    pub expires: i64,
}

/// Computes what changing requests of a session carry in [`FORGERY_HEADER`]: whoever has not got
/// the session's secret cannot know it.
pub fn forgery_token(secret: &str) -> String {
    hex(&Sha256::new_with_prefix(b"forgery:").chain_update(secret).finalize())
}

#[cfg(test)]
mod tests {
    use crate::login::*;

    #[test]
    fn each_session_has_a_forgery_token_of_its_own() {
        let token = forgery_token("ivs_a");
        assert_eq!(token.len(), 64);
        assert_ne!(token, forgery_token("ivs_b"));
        assert!(!token.contains("ivs_a"));
    }
}
