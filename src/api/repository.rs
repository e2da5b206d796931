//! Repositories of packages.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use invirtibuilder_core::names::PackageName;

/// A repository that was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedRepository {
    /// The source package.
    pub package: PackageName,
    /// The directory of the repository on the server.
    pub repository: PathBuf,
}

#[cfg(test)]
mod tests {
    use crate::examples::pretty;
    use crate::repository::*;

    #[test]
    fn the_json_of_a_created_repository_is_pinned() {
        let created = CreatedRepository {
            package: "hello".parse().unwrap(),
            repository: "/srv/git/packages/hello.git".into(),
        };
        assert_eq!(pretty(&created), include_str!("json/created_repository.json"));
    }
}
