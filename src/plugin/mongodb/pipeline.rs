//! The option `pipeline`: stages that a change stream's events go through at the server. They must leave the event's `_id` alone, which is the place in
//! the history. (MongoDB Manual, "Modify Change Stream Output")

use super::parse;
use super::raw::tag;
use crate::error::{Error, Kind, Result};
use crate::plugin::{Fault, Options};
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};

/// The stages that the server lets stand in a change stream.
const STAGES: &[&str] = &["$match", "$project", "$addFields", "$replaceRoot", "$replaceWith", "$redact", "$set", "$unset"];

/// The stages of an extractor's options. Errors: `BadOption`.
pub fn stages(options: &Options) -> Result<Vec<Document>> {
    let Some(text) = options.get("pipeline") else { return Ok(Vec::new()) };
    let wrong = |what: String| {
        let e = Error::new(Kind::BadOption, "invalid value for option \"pipeline\"").with_detail(what);
        e.with_hint(format!("Write it as a JSON array of stages, of {}, that leave _id alone.", STAGES.join(", ")))
    };
    let Bson::Array(items) = bson_of(text).map_err(|e| wrong(e.detail().unwrap_or_default().to_string()))? else { return Err(wrong("It is no array.".to_string())) };
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        let Bson::Document(stage) = item else { return Err(wrong("A stage is no object.".to_string())) };
        check_stage(&stage).map_err(wrong)?;
        out.push(stage);
    }
    Ok(out)
}

/// The collation of an extractor's options.
pub fn collation(options: &Options) -> Result<Option<Document>> {
    let Some(text) = options.get("collation") else { return Ok(None) };
    let e = || Error::new(Kind::BadOption, "invalid value for option \"collation\"").with_hint("Write it as a JSON object, for example {\"locale\": \"de\", \"strength\": 1}.");
    match bson_of(text).map_err(|_| e())? {
        Bson::Document(d) if d.contains_key("locale") => Ok(Some(d)),
        _ => Err(e()),
    }
}

/// Faults of both, for CREATE PIPE.
pub fn check(options: &Options) -> Vec<Fault> {
    let faults = [stages(options).err(), collation(options).err()];
    let fault = |e: Error| Fault::missing(format!("{}{}", e.message(), e.detail().map_or(String::new(), |d| format!(": {d}"))), e.hint().unwrap_or_default());
    faults.into_iter().flatten().map(fault).collect()
}

/// JSON as the driver's value.
fn bson_of(text: &str) -> Result<Bson> {
    let (kind, bytes) = parse::value(text)?;
    let mut builder = super::raw::Builder::default();
    builder.push("v", super::raw::Value { tag: kind, bytes: &bytes });
    document_of(builder.finish()).map(|mut d| d.remove("v").unwrap_or(Bson::Null))
}

/// Bytes as the driver's document.
pub fn document_of(bytes: Vec<u8>) -> Result<Document> {
    let malformed = |e: &dyn std::fmt::Display| Error::new(Kind::Corrupt, "a document is malformed").with_detail(e.to_string());
    let raw = RawDocumentBuf::from_bytes(bytes).map_err(|e| malformed(&e))?;
    Document::try_from(&raw).map_err(|e| malformed(&e))
}

/// A value as the driver's.
pub fn value_of(kind: u8, bytes: &[u8]) -> Result<Bson> {
    let mut builder = super::raw::Builder::default();
    builder.push("v", super::raw::Value { tag: kind, bytes });
    debug_assert!(kind != tag::UNDEFINED);
    document_of(builder.finish()).map(|mut d| d.remove("v").unwrap_or(Bson::Null))
}

fn check_stage(stage: &Document) -> std::result::Result<(), String> {
    let mut keys = stage.iter();
    let (Some((name, body)), None) = (keys.next(), keys.next()) else { return Err("A stage has not exactly one key.".to_string()) };
    if !STAGES.contains(&name.as_str()) {
        return Err(format!("Stage {name} is not allowed in a change stream."));
    }
    let touches = match (name.as_str(), body) {
        ("$match" | "$redact", _) => false,
        ("$unset", Bson::String(field)) => is_id(field),
        ("$unset", Bson::Array(fields)) => fields.iter().any(|f| f.as_str().is_some_and(is_id)),
        // a projection keeps _id unless it says otherwise
        ("$project", Bson::Document(fields)) => fields.iter().any(|(k, v)| is_id(k) && !keeps(v)),
        ("$addFields" | "$set", Bson::Document(fields)) => fields.keys().any(|k| is_id(k)),
        ("$replaceWith", root) => !carries_id(root),
        ("$replaceRoot", Bson::Document(d)) => !d.get("newRoot").is_some_and(carries_id),
        _ => return Err(format!("Stage {name} has a body of another type.")),
    };
    if touches { Err(format!("Stage {name} changes or removes _id, the event's place in the history.")) } else { Ok(()) }
}

fn is_id(field: &str) -> bool {
    field == "_id" || field.starts_with("_id.")
}

fn keeps(value: &Bson) -> bool {
    matches!(value, Bson::Int32(1) | Bson::Int64(1) | Bson::Boolean(true)) || matches!(value, Bson::Double(d) if *d == 1.0) || matches!(value, Bson::String(s) if s == "$_id")
}

/// A new root that has the event's own `_id`.
fn carries_id(root: &Bson) -> bool {
    match root {
        Bson::String(s) => s == "$$ROOT" || s == "$$CURRENT",
        Bson::Document(d) => match d.get("$mergeObjects") {
            // the last one that has an _id wins: nothing but ours may follow it
            Some(Bson::Array(parts)) => parts.last().is_some_and(carries_id),
            Some(_) => false,
            None => matches!(d.get("_id"), Some(Bson::String(s)) if s == "$_id"),
        },
        _ => false,
    }
}

/// The stages applied to documents as they are: each is made the event of its insert, and gives up its document again.
pub fn over_documents(stages: &[Document], database: &str, collection: &str) -> Vec<Document> {
    let event = doc! {
        "_id": "$_id", "operationType": "insert", "ns": { "db": { "$literal": database }, "coll": { "$literal": collection } }, "documentKey": { "_id": "$_id" }, "fullDocument": "$$ROOT",
    };
    let mut out = vec![doc! { "$replaceWith": event }];
    out.extend(stages.iter().cloned());
    out.push(doc! { "$replaceWith": "$fullDocument" });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(pipeline: &str) -> usize {
        check(&Options::from_pairs([("pipeline", pipeline)])).len()
    }

    #[test]
    fn stages_that_leave_the_place_alone_are_taken() {
        for fine in [
            r#"[{"$match": {"fullDocument.user": "alice"}}, {"$addFields": {"new": 1}}]"#,
            r#"[{"$project": {"_id": 1, "fullDocument": 1}}, {"$unset": ["updateDescription"]}]"#,
            r#"[{"$replaceWith": {"$mergeObjects": [{"a": 1}, "$$ROOT"]}}]"#,
            r#"[{"$replaceRoot": {"newRoot": {"_id": "$_id", "ns": "$ns"}}}]"#,
            "[]",
        ] {
            assert_eq!(faults(fine), 0, "{fine}");
        }
        for wrong in [
            "{}",
            "[1]",
            r#"[{"$group": {}}]"#,
            r#"[{"$match": {}, "$set": {}}]"#,
            r#"[{"$project": {"_id": 0}}]"#,
            r#"[{"$unset": "_id"}]"#,
            r#"[{"$unset": ["a", "_id._data"]}]"#,
            r#"[{"$set": {"_id": 1}}]"#,
            r#"[{"$replaceWith": "$fullDocument"}]"#,
            r#"[{"$replaceRoot": {"newRoot": {"$mergeObjects": ["$$ROOT", "$fullDocument"]}}}]"#,
            "[",
        ] {
            assert_eq!(faults(wrong), 1, "{wrong}");
        }
    }
}
