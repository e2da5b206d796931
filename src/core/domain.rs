//! Names things that belong to one domain: an archive of its own, with suites, pool and version
//! identities that no other domain shares.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::json_schema::in_place;
use crate::names::{DomainName, PackageName, Suite, Version};

/// The name of the domain that `archive:` describes. Pockets that name none are in it.
pub const MAIN: &str = "main";

impl DomainName {
    /// Names the domain that `archive:` describes.
    pub fn main() -> Self {
        MAIN.parse().expect("a valid name")
    }

    /// Tells whether this is the domain that `archive:` describes.
    pub fn is_main(&self) -> bool {
        self.as_str() == MAIN
    }

    /// Writes the name of something in this domain: `NAME` in main, else `DOMAIN/NAME`.
    pub fn qualify(&self, name: &str) -> String {
        if self.is_main() { name.to_owned() } else { format!("{self}/{name}") }
    }
}

impl DomainName {
    /// Names the key of the configuration that holds a setting of this domain's archive.
    pub fn setting(&self, field: &str) -> String {
        if self.is_main() { format!("archive.{field}") } else { format!("archives.{self}.{field}") }
    }
}

impl Default for DomainName {
    fn default() -> Self {
        Self::main()
    }
}

/// A suite of a domain. As text it is `SUITE` if the domain is main, else `DOMAIN/SUITE`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SuiteId {
    /// The domain whose archive has the suite.
    pub domain: DomainName,
    /// The name of the suite there.
    pub suite: Suite,
}

in_place!(SuiteId, schemars::json_schema!({ "type": "string", "title": "suite" }));

impl SuiteId {
    /// Names a suite of main.
    pub fn main(suite: Suite) -> Self {
        Self { domain: DomainName::main(), suite }
    }
}

impl fmt::Display for SuiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.domain.qualify(self.suite.as_str()))
    }
}

impl FromStr for SuiteId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text.split_once('/') {
            Some((domain, suite)) => Self { domain: domain.parse()?, suite: suite.parse()? },
            None => Self::main(text.parse()?),
        })
    }
}

impl TryFrom<String> for SuiteId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<SuiteId> for String {
    fn from(id: SuiteId) -> String {
        id.to_string()
    }
}

/// A version of a source package in a domain, which names one commit for ever there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The domain.
    pub domain: DomainName,
    /// The source package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
}

impl Identity {
    /// Names a version of main.
    pub fn main(package: PackageName, version: Version) -> Self {
        Self { domain: DomainName::main(), package, version }
    }

    /// Names the version of the same package and number in another domain.
    pub fn of(&self, domain: &DomainName) -> Self {
        Self { domain: domain.clone(), ..self.clone() }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package, self.version)?;
        if self.domain.is_main() { Ok(()) } else { write!(f, " of domain {}", self.domain) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_of_main_is_its_name_and_others_name_their_domain() {
        for text in ["stable", "dev/unstable", "dev/stable"] {
            let id: SuiteId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        }
        assert_eq!("main/stable".parse::<SuiteId>().unwrap(), "stable".parse().unwrap());
        for bad in ["", "/", "dev/", "/stable", "a/b/c", "../stable", "dev/.."] {
            assert!(bad.parse::<SuiteId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_version_says_its_domain_where_that_is_not_main() {
        let main = Identity::main("hello".parse().unwrap(), "1.0".parse().unwrap());
        assert_eq!(main.to_string(), "hello 1.0");
        assert_eq!(main.of(&"dev".parse().unwrap()).to_string(), "hello 1.0 of domain dev");
    }
}
