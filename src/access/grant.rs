//! How much of a caller's rights a request may use: all of them, what a token has of them, or none.

use invirtibuilder_api::tokens::{TokenScope, TokenVerb};
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::{PocketName, TokenName};

/// The rights that a request may use. A grant only ever takes away: what is left is for ACLs to
/// decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// All that the caller has.
    Whole,
    /// Those that a token has of its principal's.
    Token(TokenName, TokenScope),
    /// None but to read: nobody says who they are.
    Reading,
}

impl Grant {
    /// Demands that the request may do this, in this pocket if it is about one.
    pub fn demand(&self, verb: TokenVerb, pocket: Option<&PocketName>) -> Result<(), Error> {
        match self {
            Grant::Whole => Ok(()),
            Grant::Reading if verb == TokenVerb::Read => Ok(()),
            Grant::Reading => Err(Error::denied("nobody has authenticated you: sign in first")),
            Grant::Token(name, scope) if !scope.verbs.contains(&verb) => Err(Error::denied(
                format!("token {name} may not {verb}: make one with --verbs {verb}"),
            )),
            Grant::Token(name, _) => match pocket.filter(|pocket| !self.admits(pocket)) {
                None => Ok(()),
                Some(pocket) => Err(Error::denied(format!(
                    "token {name} changes nothing in {pocket}: make one with --pockets {pocket}"
                ))),
            },
        }
    }

    /// Tells whether the request may change a pocket.
    pub fn admits(&self, pocket: &PocketName) -> bool {
        match self {
            Grant::Whole => true,
            Grant::Token(_, scope) => scope.pockets.is_empty() || scope.pockets.contains(pocket),
            Grant::Reading => false,
        }
    }

    /// Demands that the request may use all rights of the caller: `what` it wants is for people.
    pub fn demand_whole(&self, what: &str) -> Result<(), Error> {
        match self {
            Grant::Whole => Ok(()),
            Grant::Token(name, _) => {
                Err(Error::denied(format!("token {name} may not {what}: use a ticket")))
            }
            Grant::Reading => self.demand(TokenVerb::Submit, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::grant::*;

    #[test]
    fn a_token_does_what_it_names_where_it_names_it() {
        let pocket = |name: &str| name.parse::<PocketName>().unwrap();
        let scope = |pockets: &[&str], verbs: &[TokenVerb]| {
            let pockets = pockets.iter().map(|name| pocket(name)).collect();
            let scope = TokenScope { pockets, verbs: verbs.to_vec() };
            Grant::Token("ci".parse().unwrap(), scope)
        };
        let (dev, prod) = (pocket("dev"), pocket("prod"));
        let ci = scope(&["dev"], &[TokenVerb::Submit]);
        assert!(ci.demand(TokenVerb::Submit, Some(&dev)).is_ok());
        assert!(ci.demand(TokenVerb::Submit, Some(&prod)).is_err());
        assert!(ci.demand(TokenVerb::Cancel, Some(&dev)).is_err());
        assert!(ci.demand(TokenVerb::Read, None).is_err(), "reading is a verb like any other");
        assert!(ci.admits(&dev) && !ci.admits(&prod) && ci.demand_whole("x").is_err());
        let all = scope(&[], &[TokenVerb::Read]);
        assert!(all.demand(TokenVerb::Read, Some(&prod)).is_ok() && all.admits(&prod));
        assert!(Grant::Reading.demand(TokenVerb::Read, None).is_ok());
        for verb in TokenVerb::ALL {
            assert!(Grant::Whole.demand(*verb, Some(&prod)).is_ok());
            let reads = Grant::Reading.demand(*verb, Some(&dev)).is_ok();
            assert_eq!(reads, *verb == TokenVerb::Read);
        }
        assert!(!Grant::Reading.admits(&dev) && Grant::Reading.demand_whole("x").is_err());
    }
}
