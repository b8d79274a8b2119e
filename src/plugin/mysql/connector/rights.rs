//! What the login may not do at the target, said before anything is written. SHOW GRANTS lists the rights of the account that the login was let in as; the
//! server goes by those of other accounts too (the same user's of other hosts, everybody's), so what is not listed is tried before it is called missing, by
//! statements that change nothing.

use super::super::client::{ident, qualified, server_code};
use super::super::grants::Grants;
use super::super::types::OWN;
use super::super::wire::Wire;
use crate::data::{TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::obstacle::Obstacles;
use crate::plugin::policy::{OnDelete, OnRows, OnTruncate, Policies};
use crate::plugin::{Prepared, TargetTable};

const WHAT: &str = "could not look at the login's rights at the target";

/// The rights of the target's login.
pub struct Rights(Grants);

impl Rights {
    /// Asks. A server that tells nobody's rights lets everybody do everything.
    pub async fn of(wire: &mut Wire) -> Result<Rights> {
        match Grants::of(wire).await {
            Ok(grants) => Ok(Rights(grants)),
            Err(e) if server_code(&e).is_some() => Ok(Rights(Grants::everything())),
            Err(e) => Err(e),
        }
    }
    /// The login may keep the marks. Errors: `NoRight`.
    pub async fn check_marks(&self, wire: &mut Wire) -> Result<()> {
        let missing: Vec<&str> = ROWS.iter().chain(&["CREATE", "DROP"]).filter(|r| !self.0.on_database(r, OWN)).copied().collect();
        if missing.is_empty() || self.0.by_role() || may_create(wire, &TableName::new(OWN, "shard")).await? {
            return Ok(());
        }
        let e = Error::new(Kind::NoRight, format!("the login lacks {} on database {OWN} of the target, which is for the pipes' marks", missing.join(", ")));
        Err(e.with_hint(format!("Run GRANT ALL ON `{OWN}`.* TO the target's login.")))
    }
    /// What it may not do with a table, which is `there` or will be made.
    pub async fn check(&self, wire: &mut Wire, t: &TargetTable, there: Option<&TableVersion>, prepared: &Prepared, policies: &Policies, o: &mut Obstacles) -> Result<()> {
        if self.0.by_role() {
            return Ok(());
        }
        let unlisted = needed(t, policies).into_iter().filter(|r| !self.0.on_table(r, &t.target));
        let mut missing = Vec::new();
        let (what, on) = match there {
            Some(there) => {
                for right in unlisted {
                    if !may(wire, right, &t.target, there).await? {
                        missing.push(right);
                    }
                }
                (format!("table {}", t.target), qualified(&t.target)?)
            }
            None => {
                let makes = prepared.statements.iter().any(|s| s.starts_with("CREATE TABLE"));
                missing.extend(unlisted.chain(["CREATE"].into_iter().filter(|_| makes && !self.0.on_table("CREATE", &t.target))));
                if !missing.is_empty() && may_create(wire, &t.target).await? {
                    missing.clear();
                }
                (format!("database {}", t.target.schema), format!("{}.*", ident(&t.target.schema)?))
            }
        };
        if !missing.is_empty() {
            let missing = missing.join(", ");
            o.add(Kind::NoRight, format!("the login lacks {missing} on {what} of the target"), &format!("Run GRANT {missing} ON {on} TO the target's login."));
        }
        Ok(())
    }
}

const ROWS: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];

/// What a pipe does to the rows of a table. Rows without a key are only inserted for sure.
fn needed(t: &TargetTable, p: &Policies) -> Vec<&'static str> {
    let keyed = !t.table.key.is_empty();
    let deletes = keyed && (p.on_delete == OnDelete::Delete || p.on_truncate == OnTruncate::Propagate || p.on_rows == OnRows::Truncate);
    ROWS.iter().filter(|r| match **r {
        "UPDATE" => keyed,
        "DELETE" => deletes,
        _ => true,
    }).copied().collect()
}

/// The statement is let through, or fails for another reason than a right.
async fn passes(wire: &mut Wire, sql: &str) -> Result<bool> {
    match wire.run(WHAT, sql).await {
        Err(e) if matches!(server_code(&e), Some(1044 | 1142 | 1143)) => Ok(false),
        Err(e) if server_code(&e).is_none() => Err(e),
        _ => Ok(true),
    }
}

/// To explain a statement takes the rights that it takes itself. (MySQL manual, EXPLAIN Statement)
async fn may(wire: &mut Wire, right: &str, name: &TableName, there: &TableVersion) -> Result<bool> {
    let table = qualified(name)?;
    let Some(column) = there.columns.iter().find(|c| !c.generated) else { return Ok(true) };
    let sql = match right {
        "SELECT" => format!("EXPLAIN SELECT 1 FROM {table}"),
        "INSERT" => format!("EXPLAIN INSERT INTO {table} VALUES ()"),
        "UPDATE" => format!("EXPLAIN UPDATE {table} SET {} = NULL WHERE FALSE", ident(&column.name)?),
        _ => format!("EXPLAIN DELETE FROM {table} WHERE FALSE"),
    };
    passes(wire, &sql).await
}

/// A table that has one column twice can't be made, whatever the rights are; they are looked at first.
async fn may_create(wire: &mut Wire, name: &TableName) -> Result<bool> {
    let name = qualified(name)?;
    passes(wire, &format!("CREATE TABLE {name} (a int, a int)")).await
}
