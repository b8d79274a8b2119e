//! What must hold at a target, looked at from outside by plain SQL: while changes flow, at every moment; at rest, everything.

use super::lake::tables_as;
use super::systems::Session;
use super::workload::{BANK, BOTH, POISON, TABLES};
use std::collections::BTreeMap;

/// How many checks of which kind were made.
pub type Tally = BTreeMap<&'static str, u64>;

/// Adds to a tally.
pub fn count(tally: &mut Tally, what: &'static str, n: u64) {
    *tally.entry(what).or_default() += n;
}

/// A look at a target. Sums that only grow are compared with the last look.
#[derive(Default)]
pub struct Eye {
    versions: i64,
    rows: BTreeMap<String, i64>,
}

fn number(v: Option<&Option<String>>) -> Result<i64, String> {
    let text = v.cloned().flatten().ok_or("a sum over nothing")?;
    text.parse().map_err(|_| format!("{text} is no number"))
}

impl Eye {
    /// The queries of a look; a target that is consistent across tables answers them in one snapshot.
    pub async fn look(&mut self, session: &mut dyn Session, across: bool) -> Result<Result<Tally, String>, String> {
        let named = |sql: &str| if across { tables_as(sql, str::to_string) } else { sql.to_string() };
        let mut tally = Tally::new();
        let bank = session.rows(&named("select sum(balance), sum(ver) from {bank}")).await?;
        let (sum, versions) = (number(bank[0].first())?, number(bank[0].get(1))?);
        if sum != BANK {
            return Ok(Err(format!("bank has {sum}, not {BANK}")));
        }
        if versions < self.versions {
            return Ok(Err(format!("bank went back: versions add up to {versions} after {}", self.versions)));
        }
        self.versions = versions;
        count(&mut tally, "sum of one table", 1);
        count(&mut tally, "versions never back", 1);
        if across {
            let both = session.rows("select (select sum(balance) from bank_l) + (select sum(balance) from bank_r)").await?;
            let sum = number(both[0].first())?;
            if sum != BOTH {
                return Ok(Err(format!("bank_l and bank_r have {sum} together, not {BOTH}")));
            }
            count(&mut tally, "sum across tables", 1);
        }
        let sql = format!("select writer, count(*), count(distinct seq), max(seq), sum(case when note = '{POISON}' then 1 else 0 end) from {{ledger}} group by writer");
        for row in session.rows(&named(&sql)).await? {
            let writer = row[0].clone().unwrap_or_default();
            let (rows, distinct, last, poison) = (number(row.get(1))?, number(row.get(2))?, number(row.get(3))?, number(row.get(4))?);
            if rows != distinct || distinct != last || poison != 0 {
                return Ok(Err(format!("ledger of writer {writer}: {rows} rows, {distinct} different, the last is {last}, {poison} rolled back")));
            }
            let before = self.rows.insert(writer.clone(), last).unwrap_or(0);
            if last < before {
                return Ok(Err(format!("ledger of writer {writer} went back from {before} to {last}")));
            }
            count(&mut tally, "dense sequence", 1);
        }
        Ok(Ok(tally))
    }
}

/// The last number of each writer that a target has.
pub async fn reached(session: &mut dyn Session, lake: bool) -> Result<BTreeMap<usize, i64>, String> {
    let sql = "select writer, max(seq) from {ledger} group by writer";
    let sql = if lake { sql.to_string() } else { tables_as(sql, str::to_string) };
    let rows = session.rows(&sql).await?;
    rows.iter().map(|r| Ok((number(r.first())? as usize, number(r.get(1))?))).collect()
}

/// Count and digest of every table, the same text wherever it is taken.
pub async fn digests(session: &mut dyn Session, lake: bool) -> Result<BTreeMap<String, String>, String> {
    let mut out = BTreeMap::new();
    for (table, columns) in TABLES {
        let texts = columns.iter().map(|c| format!("coalesce(cast({c} as varchar), '~')")).collect::<Vec<_>>().join(", ");
        let sql = format!("select count(*), coalesce(md5(string_agg(md5(r), '' order by r)), '') from (select concat_ws('|', {texts}) as r from {{{table}}}) x");
        let sql = if lake { sql } else { tables_as(&sql, str::to_string) };
        let rows = session.rows(&sql).await.map_err(|e| format!("{table}: {e}"))?;
        out.insert(table.to_string(), rows[0].iter().flatten().cloned().collect::<Vec<_>>().join(" "));
    }
    Ok(out)
}
