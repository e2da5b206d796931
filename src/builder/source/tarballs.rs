//! Which upstream tarballs a source package takes, and where each comes from: from the pool, whose
//! bytes have the name already, or from the branch pristine-tar.

use std::collections::BTreeSet;
use std::path::PathBuf;

use git2::{ErrorCode, ObjectType, Oid, Repository, Tree};

use crate::source::Format;
use crate::source::binding::{Binding, SUMS};
use crate::source::delta::Delta;
use crate::source::from_tree::{TreeOf, UpstreamTree};
use crate::source::{object, upstream_tag};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{CommitId, JobId, PackageName, Version};

/// Compressions that dpkg-source takes, the best first.
const SUFFIXES: [&str; 4] = ["xz", "gz", "bz2", "lzma"];

/// Larger deltas are none.
const LARGEST_DELTA: u64 = 256 << 20;

/// A tarball, or a signature of one, that the pool has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pooled {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// The job that brought it, if the record knows.
    pub job: Option<JobId>,
}

/// An upstream tarball of a source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tarball {
    /// Its name.
    pub name: String,
    /// The directory that it is unpacked to; `None`: the top.
    pub component: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// Its SHA-256, if it is known before it is made.
    pub sha256: Option<String>,
}

/// Where a tarball comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The pool.
    Pool {
        /// The file.
        path: PathBuf,
        /// The job that brought it there.
        job: Option<JobId>,
        /// Its signature.
        signature: Option<PathBuf>,
    },
    /// The branch pristine-tar.
    PristineTar {
        /// The delta, a blob.
        delta: Oid,
        /// The tree that the delta was made against.
        tree: Oid,
        /// Upstream's signature, a blob.
        signature: Option<Oid>,
        /// The names in the tarball.
        members: Vec<Vec<u8>>,
    },
    /// A tree, of which the service makes it.
    Tree(UpstreamTree),
}

impl Tarball {
    /// Says where it comes from, in a word that the record keeps.
    pub fn from(&self) -> &'static str {
        match self.origin {
            Origin::Pool { .. } => "pool",
            Origin::PristineTar { .. } => "pristine-tar",
            Origin::Tree(UpstreamTree { of: TreeOf::Tag { .. }, .. }) => "tag",
            Origin::Tree(UpstreamTree { of: TreeOf::Commit, .. }) => "commit",
        }
    }

    /// Tells whether it is made of a tag, which is in the commit's history unless the commit has
    /// its sum.
    pub fn is_of_tag(&self) -> bool {
        matches!(&self.origin, Origin::Tree(UpstreamTree { of: TreeOf::Tag { .. }, .. }))
    }

    /// Tells whether upstream's signature comes with it.
    pub fn is_signed(&self) -> bool {
        match &self.origin {
            Origin::Pool { signature, .. } => signature.is_some(),
            Origin::PristineTar { signature, .. } => signature.is_some(),
            Origin::Tree(_) => false,
        }
    }
}

/// What is there for one upstream version.
pub struct Offers<'a> {
    package: &'a PackageName,
    version: &'a Version,
    pool: &'a [Pooled],
    /// Where the branch pristine-tar is.
    pub branch: Option<CommitId>,
    tree: Option<Tree<'a>>,
    /// Tarballs of the branch: name, component, suffix; whatever their compression.
    deltas: Vec<(String, Option<String>, String)>,
    /// The tree of the main tarball, if it may be made of one.
    upstream: Option<UpstreamTree>,
    /// The names of tags that such a tree may come from, if it may.
    tags: Vec<String>,
}

/// Where the branch pristine-tar is taken from.
#[derive(Debug, Clone, Copy)]
pub enum Branch<'a> {
    /// Where it is now.
    Now,
    /// Where it was when that was fixed; `None`: there was none.
    Fixed(Option<&'a CommitId>),
}

/// The most components that a source package may have.
const COMPONENTS: usize = 50;

impl<'a> Offers<'a> {
    /// Looks at the branch as it is now, or as it was at a commit.
    pub fn new(
        repo: &'a Repository,
        (package, version): (&'a PackageName, &'a Version),
        pool: &'a [Pooled],
        branch: Branch,
    ) -> Result<Self, Failure> {
        let commit = match branch {
            Branch::Fixed(None) => None,
            Branch::Fixed(Some(at)) => Some(repo.find_commit(at.into()).map_err(|_| {
                let text = format!(
                    "commit {} of branch pristine-tar, where it was at submission, is gone: 'retry' takes the branch as it is now",
                    at.short()
                );
                Failure::new(FailureKind::Upstream, text)
            })?),
            Branch::Now => match repo.find_reference("refs/heads/pristine-tar") {
                Ok(branch) => Some(branch.peel_to_commit()?),
                Err(error) if error.code() == ErrorCode::NotFound => None,
                Err(error) => return Err(error.into()),
            },
        };
        let tree = commit.as_ref().map(git2::Commit::tree).transpose()?;
        let branch = commit.map(|commit| commit.id().into());
        let mut offers = Self {
            package,
            version,
            pool,
            branch,
            tree,
            deltas: Vec::new(),
            upstream: None,
            tags: Vec::new(),
        };
        let names = offers.tree.iter().flat_map(|tree| {
            tree.iter().filter_map(|entry| entry.name().ok().map(str::to_owned)).collect::<Vec<_>>()
        });
        let tarball = |name: String| {
            let name = name.strip_suffix(".delta")?;
            let (component, suffix) = offers.parse(name)?;
            Some((name.to_owned(), component.map(str::to_owned), suffix.to_owned()))
        };
        offers.deltas = names.filter_map(tarball).collect();
        let components = offers.components().len();
        if components > COMPONENTS {
            let text = format!(
                "{components} components of {package} are offered for {}: use up to {COMPONENTS}",
                version.upstream()
            );
            return Err(Failure::new(FailureKind::Upstream, text));
        }
        Ok(offers)
    }

    /// Offers a tree as well, to make the main tarball of. `tags` are the names that were looked for.
    pub fn with_tree(self, upstream: Option<UpstreamTree>, tags: Vec<String>) -> Self {
        Self { upstream, tags, ..self }
    }

    /// Returns what the name of a component's tarball begins with.
    pub fn start(&self, component: &str) -> String {
        format!("{}-{component}.tar.", self.stem())
    }

    fn stem(&self) -> String {
        format!("{}_{}.orig", self.package, self.version.upstream())
    }

    /// Finds the component and the suffix of a tarball of this upstream version; `None`: the name
    /// is another's.
    fn parse<'n>(&self, name: &'n str) -> Option<(Option<&'n str>, &'n str)> {
        let (component, suffix) = name.strip_prefix(&self.stem())?.split_once(".tar.")?;
        let is_one = |name: &&str| {
            !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        };
        match component {
            "" => Some((None, suffix)),
            _ => Some((Some(component.strip_prefix('-').filter(is_one)?), suffix)),
        }
    }

    /// Tarballs of the pool.
    fn pooled(&self) -> impl Iterator<Item = (&Pooled, Option<&str>, &str)> {
        self.pool.iter().filter_map(|file| {
            let (component, suffix) = self.parse(&file.name)?;
            SUFFIXES.contains(&suffix).then_some((file, component, suffix))
        })
    }

    /// Lists the components that there are, without the main tarball.
    pub fn components(&self) -> BTreeSet<String> {
        let pool = self.pooled().filter_map(|(_, component, _)| component.map(str::to_owned));
        pool.chain(self.deltas.iter().filter_map(|(_, component, _)| component.clone())).collect()
    }

    /// Tells whether there is a main tarball, of any kind.
    pub fn has_main(&self) -> bool {
        self.pooled().any(|(_, component, _)| component.is_none())
            || self.deltas.iter().any(|(_, component, _)| component.is_none())
            || self.upstream.is_some()
    }

    /// Lists the main tarball and those of these components, and what is to be said of them.
    pub fn choose(
        &self,
        repo: &Repository,
        format: Format,
        components: &BTreeSet<String>,
        binding: &Binding,
    ) -> Result<(Vec<Tarball>, Vec<String>), Failure> {
        let mut notes = Vec::new();
        let wanted = std::iter::once(None).chain(components.iter().map(|name| Some(name.as_str())));
        let chosen =
            wanted.map(|component| match self.one(repo, format, component, &mut notes)? {
                Some(tarball) => Ok(tarball),
                None if component.is_none() => {
                    self.of_tree(binding).ok_or_else(|| self.missing(None))
                }
                None => Err(self.missing(component)),
            });
        Ok((chosen.collect::<Result<_, _>>()?, notes))
    }

    fn one(
        &self,
        repo: &Repository,
        format: Format,
        component: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Result<Option<Tarball>, Failure> {
        let offered: Vec<(String, String)> = self
            .deltas
            .iter()
            .filter(|(_, of, _)| of.as_deref() == component)
            .map(|(name, _, suffix)| (name.clone(), suffix.clone()))
            .collect();
        let pooled = self.pooled().find(|(_, of, _)| *of == component);
        if let Some((file, _, suffix)) = pooled {
            self.agrees(repo, file, &offered, notes)?;
            fits(format, &file.name, suffix)?;
            let signature =
                self.pool.iter().find(|other| other.name == format!("{}.asc", file.name));
            let origin = Origin::Pool {
                path: file.path.clone(),
                job: file.job,
                signature: signature.map(|signature| signature.path.clone()),
            };
            let sum = Some(file.sha256.clone());
            return Ok(Some(self.tarball(&file.name, component, origin, sum)));
        }
        let rank = |suffix: &str| SUFFIXES.iter().position(|known| *known == suffix);
        let fitting = offered.iter().filter(|(name, suffix)| fits(format, name, suffix).is_ok());
        let best = fitting.min_by_key(|(_, suffix)| rank(suffix)).or(offered.first());
        let Some((name, suffix)) = best else { return Ok(None) };
        fits(format, name, suffix)?;
        let (delta, parsed) = self.delta(repo, name)?;
        let tree = self.against(repo, name)?;
        if parsed.sha256.is_none() {
            notes.push(format!(
                "the delta of {name} is an old one that has no sum to compare the tarball with"
            ));
        }
        let blob = self.entry(&format!("{name}.asc"));
        let origin = Origin::PristineTar { delta, tree, signature: blob, members: parsed.members };
        Ok(Some(self.tarball(name, component, origin, parsed.sha256)))
    }

    /// Finds the main tarball, to be made of a tree: compressed by xz, unless the commit has the
    /// sum of one that is compressed by gzip.
    fn of_tree(&self, binding: &Binding) -> Option<Tarball> {
        let gz = format!("{}.tar.gz", self.stem());
        let name = if binding.names(&gz) { gz } else { format!("{}.tar.xz", self.stem()) };
        Some(self.tarball(&name, None, Origin::Tree(self.upstream.clone()?), None))
    }

    fn tarball(
        &self,
        name: &str,
        component: Option<&str>,
        origin: Origin,
        sha256: Option<String>,
    ) -> Tarball {
        Tarball { name: name.to_owned(), component: component.map(str::to_owned), origin, sha256 }
    }

    fn missing(&self, component: Option<&str>) -> Failure {
        let part = component.map_or_else(String::new, |name| format!("-{name}"));
        let tags = match self.tags.first().filter(|_| component.is_none()) {
            Some(tag) => format!(", or push upstream's tag {tag}"),
            None => String::new(),
        };
        let text = format!(
            "the upstream tarball {}{part}.tar.* is neither in the archive nor on the branch pristine-tar: commit it with \
             'pristine-tar commit' and push that branch{tags}",
            self.stem()
        );
        Failure::new(FailureKind::Upstream, text)
    }

    /// Refuses where the pool and the branch have two tarballs for one.
    fn agrees(
        &self,
        repo: &Repository,
        file: &Pooled,
        offered: &[(String, String)],
        notes: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let brought = file.job.map_or_else(String::new, |job| format!(", brought by job {job}"));
        let differ = |what: String| {
            let text = format!(
                "the pool has {} with SHA-256 {}{brought}, and the branch pristine-tar has {what}: an upstream version has one \
                 tarball, so commit the pool's with 'pristine-tar commit', or give this one an upstream version of its own",
                file.name, file.sha256
            );
            Err(Failure::new(FailureKind::Upstream, text))
        };
        if offered.is_empty() {
            return Ok(());
        }
        if !offered.iter().any(|(name, _)| *name == file.name) {
            return differ(offered[0].0.clone());
        }
        match self.delta(repo, &file.name)?.1.sha256 {
            Some(sum) if sum != file.sha256 => differ(format!("one with {sum}")),
            Some(_) => Ok(()),
            None => {
                notes.push(format!(
                    "{} is the pool's: the branch pristine-tar has an old delta of it, without a sum to compare with",
                    file.name
                ));
                Ok(())
            }
        }
    }

    fn entry(&self, name: &str) -> Option<Oid> {
        let entry = self.tree.as_ref()?.get_name(name)?;
        (entry.kind() == Some(ObjectType::Blob)).then(|| entry.id())
    }

    fn delta(&self, repo: &Repository, name: &str) -> Result<(Oid, Delta), Failure> {
        let fail = |why: String| {
            Failure::new(
                FailureKind::Upstream,
                format!("{name}.delta on the branch pristine-tar {why}"),
            )
        };
        let id =
            self.entry(&format!("{name}.delta")).ok_or_else(|| fail("is no file".to_owned()))?;
        let blob = object::blob(repo, id, LARGEST_DELTA)?
            .ok_or_else(|| fail("is larger than 256 MiB".to_owned()))?;
        let delta = Delta::parse(blob.content())
            .map_err(|error| fail(format!("cannot be read: {error:#}")))?;
        Ok((id, delta))
    }

    /// Returns the tree that a delta was made against.
    fn against(&self, repo: &Repository, name: &str) -> Result<Oid, Failure> {
        let fail = |why: &str| {
            Failure::new(
                FailureKind::Upstream,
                format!("{name}.id on the branch pristine-tar {why}"),
            )
        };
        let blob = self
            .entry(&format!("{name}.id"))
            .map(|id| object::blob(repo, id, 1000))
            .transpose()?
            .flatten();
        let blob = blob.ok_or_else(|| fail("is no small file"))?;
        let text = String::from_utf8_lossy(blob.content()).trim().to_owned();
        let id = Oid::from_str(&text)
            .ok()
            .filter(|_| text.len() == 40)
            .ok_or_else(|| fail("is no object's id"))?;
        let object = repo.find_object(id, None).and_then(|object| object.peel_to_tree());
        let tree = object.map(|tree| tree.id());
        tree.or_else(|error| self.without_components(repo, id)?.ok_or(error)).map_err(|_| {
            let text = format!(
                "{name} was made by pristine-tar from the tree {id}, which the repository does not have: push the branch that has \
                 it, often 'upstream'"
            );
            Failure::new(FailureKind::Upstream, text)
        })
    }

    /// Finds the tree of this id, made from upstream's: where there are components, gbp(1) makes
    /// the delta of the main tarball against upstream's tree without their directories, which is a
    /// tree that no commit has, so nobody can push it.
    fn without_components(&self, repo: &Repository, id: Oid) -> Result<Option<Oid>, git2::Error> {
        let components = self.components();
        for reference in repo.references()? {
            let reference = reference?;
            if components.is_empty() || !reference.name().unwrap_or_default().contains("upstream") {
                continue;
            }
            let Ok(tree) = reference.peel_to_tree() else { continue };
            let kept = || {
                tree.iter()
                    .filter(|entry| !entry.name().is_ok_and(|name| components.contains(name)))
            };
            let line = |entry: git2::TreeEntry| {
                [
                    format!("{:o} ", entry.filemode()).as_bytes(),
                    entry.name_bytes(),
                    b"\0",
                    entry.id().as_bytes(),
                ]
                .concat()
            };
            if Oid::hash_object(ObjectType::Tree, &kept().flat_map(line).collect::<Vec<u8>>())?
                == id
            {
                let mut builder = repo.treebuilder(None)?;
                for entry in kept() {
                    builder.insert(entry.name_bytes(), entry.id(), entry.filemode())?;
                }
                return builder.write().map(Some);
            }
        }
        Ok(None)
    }
}

/// Refuses a tag that the commit does not bind: anybody may have pushed it.
pub fn is_bound(
    repo: &Repository,
    tarball: &Tarball,
    commit: &CommitId,
    binding: &Binding,
) -> Result<(), Failure> {
    let Origin::Tree(tree) = &tarball.origin else { return Ok(()) };
    let TreeOf::Tag { name, commit: tagged } = &tree.of else { return Ok(()) };
    if binding.names(&tarball.name) || upstream_tag::is_merged(repo, tree, commit)? {
        return Ok(());
    }
    let text = format!(
        "tag {name} leads to commit {}, which is not in the history of {}: merge it, or commit a line with the SHA-256 of {} in \
         {SUMS}, which binds the tarball",
        tagged.short(),
        commit.short(),
        tarball.name
    );
    Err(Failure::new(FailureKind::Upstream, text))
}

/// Refuses a compression that dpkg-source does not take for this format.
fn fits(format: Format, name: &str, suffix: &str) -> Result<(), Failure> {
    let fail = |text: String| Err(Failure::new(FailureKind::Upstream, text));
    if !SUFFIXES.contains(&suffix) {
        return fail(format!(
            "the upstream tarball {name} is compressed by {}, which dpkg-source does not take: repack it as .tar.xz",
            invirtibuilder_core::text::quoted(suffix)
        ));
    }
    if format == Format::One && suffix != "gz" {
        return fail(format!(
            "source format 1.0 takes an .orig.tar.gz only, and {name} is none: write 3.0 (quilt) into debian/source/format, or \
             repack it"
        ));
    }
    Ok(())
}
