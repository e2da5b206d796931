//! Tells who asks.

use crate::Session;
use invirtibuilder_access::acl;
use invirtibuilder_api::caller::Whoami;

/// Tells the caller as whom the service sees them, and what they may submit to.
pub fn describe_caller(session: &Session) -> Whoami {
    let may = |pocket: &&_| acl::explain(&session.config, pocket, &session.who).admitted;
    Whoami {
        may_submit_to: session.config.build.pockets.keys().filter(may).cloned().collect(),
        principal: session.who.clone(),
        via: session.via().to_owned(),
    }
}
