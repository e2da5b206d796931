//! Keeps the domain that each pocket is in. A pocket stays in its domain whatever the configuration
//! says, until 'archive move' has moved it: its suite and its packages are in that one's archive.

use std::path::Path;

use anyhow::Result;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::{DomainName, PocketName};

/// Finds the domain of a pocket; `None`: the record does not know the pocket.
pub fn of_pocket(db: &Connection, pocket: &PocketName) -> Result<Option<DomainName>> {
    Ok(db
        .prepare_cached("SELECT domain FROM pocket_domain WHERE pocket = ?")?
        .query_row([pocket], |row| row.get(0))
        .optional()?)
}

/// Lists the domain of every pocket that the record knows.
pub fn all(db: &Connection) -> Result<Vec<(PocketName, DomainName)>> {
    let mut statement =
        db.prepare_cached("SELECT pocket, domain FROM pocket_domain ORDER BY pocket")?;
    Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// Refuses to take a pocket for one of this domain if the record has it in another one.
pub fn check(db: &Connection, pocket: &PocketName, domain: &DomainName) -> Result<()> {
    match of_pocket(db, pocket)? {
        Some(known) if known != *domain => Err(misplaced(pocket, &known, domain).into()),
        _ => Ok(()),
    }
}

/// Places a pocket that the record does not know yet. It is an error if the record has it in
/// another domain.
pub fn place(tx: &Transaction, pocket: &PocketName, domain: &DomainName) -> Result<()> {
    check(tx, pocket, domain)?;
    place_new(tx, pocket, domain)
}

fn place_new(tx: &Transaction, pocket: &PocketName, domain: &DomainName) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO pocket_domain (pocket, domain) VALUES (?, ?) ON CONFLICT DO NOTHING",
    )?
    .execute(params![pocket, domain])?;
    Ok(())
}

/// Takes a pocket that has no open jobs into another domain. What it has used of the places is
/// forgotten: it was counted beside the pockets that it leaves.
pub fn relocate(tx: &Transaction, pocket: &PocketName, domain: &DomainName) -> Result<()> {
    let sql = "INSERT INTO pocket_domain (pocket, domain) VALUES (?, ?)
               ON CONFLICT DO UPDATE SET domain = excluded.domain";
    tx.prepare_cached(sql)?.execute(params![pocket, domain])?;
    for table in ["pocket_use", "principal_use"] {
        tx.execute(&format!("DELETE FROM {table} WHERE pocket = ?"), [pocket])?;
    }
    Ok(())
}

/// Lists the pockets that the configuration puts into another domain than the record has them in,
/// each with a sentence.
pub fn differences(db: &Connection, config: &Config) -> Result<Vec<(PocketName, Error)>> {
    let other = all(db)?.into_iter().filter_map(|(pocket, recorded)| {
        let configured = &config.build.pockets.get(&pocket)?.domain;
        let error = misplaced(&pocket, &recorded, configured);
        (recorded != *configured).then_some((pocket, error))
    });
    Ok(other.collect())
}

/// Does what [`differences`] does with the database in a file, which it only looks at. It says nothing
/// of one that is not there, that this process may not read, or that an older release has written.
pub fn differences_in(database: &Path, config: &Config) -> Vec<(PocketName, Error)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(database, flags).ok();
    db.and_then(|db| differences(&db, config).ok()).unwrap_or_default()
}

/// Refuses a configuration that puts a pocket into another domain than the record has it in.
pub fn demand(db: &Connection, config: &Config) -> Result<()> {
    match differences(db, config)?.into_iter().next() {
        Some((_, error)) => Err(error.into()),
        None => Ok(()),
    }
}

/// Places all configured pockets that the record does not know yet. The others stay where they are.
pub fn place_all(tx: &Transaction, config: &Config) -> Result<()> {
    config.build.pockets.iter().try_for_each(|(name, pocket)| place_new(tx, name, &pocket.domain))
}

fn misplaced(pocket: &PocketName, recorded: &DomainName, configured: &DomainName) -> Error {
    Error::config(format!(
        "pocket {pocket} is in domain {recorded}, and the configuration says {configured}: \
         'invirt-build archive move {pocket} {configured}' moves it there"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;
    use invirtibuilder_core::config::Pocket;

    #[test]
    fn a_pocket_stays_in_its_domain_until_it_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let config = |pockets: &[(&str, &str)]| {
            let mut config = Config::default();
            for (name, domain) in pockets {
                let pocket = Pocket { domain: domain.parse().unwrap(), ..Pocket::default() };
                config.build.pockets.insert(name.parse().unwrap(), pocket);
            }
            config
        };
        let before = config(&[("dev", "main"), ("prod", "main")]);
        record.write(|tx| place_all(tx, &before)).unwrap();
        record.write(|tx| place_all(tx, &before)).unwrap();
        assert_eq!(all(record.db()).unwrap().len(), 2);
        let after = config(&[("dev", "lab"), ("new", "lab")]);
        let error = demand(record.db(), &after).unwrap_err();
        assert_eq!(
            invirtibuilder_core::error::exit_for(&error),
            invirtibuilder_core::error::Exit::Config
        );
        assert!(format!("{error:#}").contains("'invirt-build archive move dev lab'"), "{error:#}");
        let found = differences_in(&dir.path().join("db"), &after);
        assert_eq!(found.iter().map(|(pocket, _)| pocket.as_str()).collect::<Vec<_>>(), ["dev"]);
        assert!(differences_in(&dir.path().join("none"), &after).is_empty());
        assert!(!dir.path().join("none").exists());
        record.write(|tx| place_all(tx, &after)).unwrap();
        let lab = Some("lab".parse().unwrap());
        assert_eq!(of_pocket(record.db(), &"new".parse().unwrap()).unwrap(), lab);
        assert_eq!(
            of_pocket(record.db(), &"dev".parse().unwrap()).unwrap(),
            Some(DomainName::main())
        );
        demand(record.db(), &after).unwrap_err();
        record.write(|tx| relocate(tx, &"dev".parse().unwrap(), &"lab".parse().unwrap())).unwrap();
        demand(record.db(), &after).unwrap();
        record.write(|tx| place_all(tx, &after)).unwrap();
        assert!(demand(record.db(), &before).is_err());
    }
}
