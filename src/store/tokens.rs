//! Tokens of programs, and sessions of people. Only the SHA-256 of a secret is kept: whoever reads
//! the database can use none of them.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sha2::{Digest, Sha256};

use invirtibuilder_api::tokens::{Token, TokenScope};
use invirtibuilder_core::names::{Principal, TokenName};
use invirtibuilder_core::time::now;

const COLUMNS: &str = "principal, name, pockets, verbs, by, created, expires, revoked";

fn token_from(row: &Row) -> rusqlite::Result<Token> {
    let list = |column: usize| row.get::<_, String>(column);
    fn read<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
        serde_json::from_str(text)
            .map_err(|error| rusqlite::types::FromSqlError::Other(Box::new(error)).into())
    }
    Ok(Token {
        principal: row.get(0)?,
        name: row.get(1)?,
        scope: TokenScope { pockets: read(&list(2)?)?, verbs: read(&list(3)?)? },
        by: row.get(4)?,
        created: row.get(5)?,
        expires: row.get(6)?,
        revoked: row.get(7)?,
    })
}

fn hashed(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

/// Writes a token down. One of the same name that has ended gives way.
pub fn add(tx: &Transaction, token: &Token, secret: &str) -> Result<()> {
    let TokenScope { pockets, verbs } = &token.scope;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO token (principal, name, pockets, verbs, by, created, expires, revoked, secret)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        token.principal,
        token.name,
        serde_json::to_string(pockets)?,
        serde_json::to_string(verbs)?,
        token.by,
        token.created,
        token.expires,
        token.revoked,
        hashed(secret),
    ])?;
    Ok(())
}

/// Lists the tokens of a principal, or all of them.
pub fn list(db: &Connection, principal: Option<&Principal>) -> Result<Vec<Token>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM token WHERE ?1 IS NULL OR principal = ?1 ORDER BY principal, name"
    ))?;
    let rows = statement.query_map([principal], token_from)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds a token of a principal by its name.
pub fn find(db: &Connection, principal: &Principal, name: &TokenName) -> Result<Option<Token>> {
    let sql = format!("SELECT {COLUMNS} FROM token WHERE principal = ? AND name = ?");
    let row = db.prepare_cached(&sql)?.query_row(params![principal, name], token_from);
    Ok(row.optional()?)
}

/// Finds the token of a secret, if it holds now.
pub fn of_secret(db: &Connection, secret: &str) -> Result<Option<Token>> {
    let sql =
        format!("SELECT {COLUMNS} FROM token WHERE secret = ? AND revoked IS NULL AND expires > ?");
    let row = db.prepare_cached(&sql)?.query_row(params![hashed(secret), now()], token_from);
    Ok(row.optional()?)
}

/// Ends a token.
pub fn revoke(tx: &Transaction, token: &Token) -> Result<()> {
    tx.prepare_cached("UPDATE token SET revoked = ? WHERE principal = ? AND name = ?")?
        .execute(params![now(), token.principal, token.name])?;
    Ok(())
}

/// Writes a session down, and forgets those that have ended.
pub fn begin_login(
    tx: &Transaction,
    secret: &str,
    principal: &Principal,
    expires: i64,
) -> Result<()> {
    tx.prepare_cached("DELETE FROM login WHERE expires <= ?")?.execute([now()])?;
    tx.prepare_cached("INSERT INTO login VALUES (?, ?, ?, ?)")?.execute(params![
        hashed(secret),
        principal,
        now(),
        expires
    ])?;
    Ok(())
}

/// Finds whose session has this secret, if it holds now.
pub fn of_login(db: &Connection, secret: &str) -> Result<Option<Principal>> {
    let row = db
        .prepare_cached("SELECT principal FROM login WHERE secret = ? AND expires > ?")?
        .query_row(params![hashed(secret), now()], |row| row.get(0));
    Ok(row.optional()?)
}

/// Ends a session. Tells whether there was one.
pub fn end_login(tx: &Transaction, secret: &str) -> Result<bool> {
    let mut statement = tx.prepare_cached("DELETE FROM login WHERE secret = ?")?;
    Ok(statement.execute([hashed(secret)])? > 0)
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::tokens::*;
    use invirtibuilder_api::tokens::TokenVerb;

    #[test]
    fn a_token_holds_until_it_ends_or_is_revoked_and_its_secret_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let alice = Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap();
        let token = Token {
            name: "ci".parse().unwrap(),
            principal: alice.clone(),
            scope: TokenScope {
                pockets: vec!["dev".parse().unwrap()],
                verbs: vec![TokenVerb::Read, TokenVerb::Submit],
            },
            by: alice.clone(),
            created: now(),
            expires: now() + 60_000,
            revoked: None,
        };
        record.write(|tx| add(tx, &token, "ivt_s3cr3t")).unwrap();
        assert_eq!(of_secret(record.db(), "ivt_s3cr3t").unwrap(), Some(token.clone()));
        assert_eq!(of_secret(record.db(), "ivt_other").unwrap(), None);
        assert_eq!(list(record.db(), Some(&alice)).unwrap(), std::slice::from_ref(&token));
        record.write(|tx| revoke(tx, &token)).unwrap();
        assert_eq!(of_secret(record.db(), "ivt_s3cr3t").unwrap(), None);
        let over = Token { expires: now() - 1, ..token.clone() };
        record.write(|tx| add(tx, &over, "ivt_over")).unwrap();
        assert_eq!(of_secret(record.db(), "ivt_over").unwrap(), None);
        assert_eq!(list(record.db(), None).unwrap(), [over]);
        record.write(|tx| begin_login(tx, "ivs_x", &alice, now() + 60_000)).unwrap();
        record.write(|tx| begin_login(tx, "ivs_y", &alice, now() - 1)).unwrap();
        assert_eq!(of_login(record.db(), "ivs_x").unwrap(), Some(alice.clone()));
        assert_eq!(of_login(record.db(), "ivs_y").unwrap(), None);
        assert!(record.write(|tx| end_login(tx, "ivs_x")).unwrap());
        assert_eq!(of_login(record.db(), "ivs_x").unwrap(), None);
        drop(record);
        for file in ["db", "db-wal"] {
            let bytes = std::fs::read(dir.path().join(file)).unwrap_or_default();
            assert!(!bytes.windows(6).any(|part| part == b"s3cr3t"), "{file}");
        }
    }
}
