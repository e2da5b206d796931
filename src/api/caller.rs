//! Who asks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use invirtibuilder_core::names::{PocketName, Principal};

/// The caller, as the service sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Whoami {
    /// The pockets that they may submit to.
    pub may_submit_to: Vec<PocketName>,
    /// The principal.
    pub principal: Principal,
    /// The way by which they have come, in one word.
    pub via: String,
}

#[cfg(test)]
mod tests {
    use crate::caller::*;
    use crate::examples::{self, pretty};

    #[test]
    fn the_json_of_whoami_is_pinned() {
        let whoami = Whoami {
            may_submit_to: vec!["dev".parse().unwrap(), "prod".parse().unwrap()],
            principal: examples::alice(),
            via: "remctl".to_owned(),
        };
        assert_eq!(pretty(&whoami), include_str!("json/whoami.json"));
    }
}
