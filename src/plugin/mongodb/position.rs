//! Where in a deployment's history something is: a resume token, or all of an instant of the cluster's clock. Both order by the same bytes, for a token
//! begins with its event's time. (MongoDB Manual, "Change Streams", resume tokens; the token's layout is that of the server's KeyString)

use super::raw;
use crate::data::Position;
use crate::error::{Error, Kind, Result};
use base64::Engine;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};

/// `Position::system` of all MongoDB positions.
pub const SYSTEM: &str = "mongodb";
/// What a token begins with: the type byte of a timestamp.
const TIMESTAMP: u8 = 0x82;
/// Above everything that follows the time in a token.
const AFTER_ALL: u8 = 0xff;
/// What follows the time in the token of an event, where a token without one has another byte: version 1 or 2, then the token's type, an int that is not 0.
const EVENT: &[&[u8]] = &[&[0x2b, 0x02, 0x2c], &[0x2b, 0x04, 0x2c]];

/// What a collection's UUID in a token begins with: the type byte of a binary, its length and subtype.
const COLLECTION: &[u8] = &[0x5a, 16, 4];

/// A place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// After the event of this token, or where it stands between events; in the form of [`token_text`].
    Token(String),
    /// After everything of this time (seconds << 32 | count) and before.
    After(u64),
}

impl Place {
    /// The place as a position. Errors: `Protocol` for a token of another layout.
    pub fn position(&self) -> Result<Position> {
        match self {
            Place::Token(text) => {
                let data = text.split_once(':').map_or(text.as_str(), |(data, _)| data);
                let bytes = hex::decode(data).ok().filter(|b| b.len() > 9 && b[0] == TIMESTAMP).ok_or_else(|| unknown(text))?;
                Ok(Position::new(SYSTEM, bytes[1..].to_vec(), text.clone()))
            }
            Place::After(time) => {
                let mut key = time.to_be_bytes().to_vec();
                key.push(AFTER_ALL);
                Ok(Position::new(SYSTEM, key, format!("Timestamp({}, {})", time >> 32, time & 0xffff_ffff)))
            }
        }
    }
    /// Of a position that this plugin made. Errors: `PositionLost`.
    pub fn of(position: &Position) -> Result<Place> {
        let foreign = || Error::new(Kind::PositionLost, "the position is not one of a MongoDB source").with_detail(format!("It is {position} of {}.", position.system));
        match (position.key.first_chunk::<8>(), position.key.get(8)) {
            _ if position.system != SYSTEM => Err(foreign()),
            (Some(time), Some(&AFTER_ALL)) => Ok(Place::After(u64::from_be_bytes(*time))),
            (Some(_), Some(_)) => Ok(Place::Token(position.text.clone())),
            _ => Err(foreign()),
        }
    }
}

/// The time of a position, whatever kind it is.
pub fn time_of(position: &Position) -> u64 {
    position.key.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b))
}

/// The time after which everything is read that is to be read when one begins at a position: what is before it, for a position between events is one that the
/// server has not reached yet.
pub fn read_after(position: &Position) -> u64 {
    match position.key.get(8) {
        Some(&AFTER_ALL) => time_of(position),
        _ if is_event(position) => time_of(position),
        _ => time_of(position).saturating_sub(1),
    }
}

/// The collection whose event a position is: its UUID, which a token has as a binary after its place in the transaction.
pub fn collection_of(position: &Position) -> Option<String> {
    let rest = position.key.get(8..)?;
    let at = rest.windows(COLLECTION.len()).position(|w| w == COLLECTION)? + COLLECTION.len();
    rest.get(at..at + 16).map(hex::encode)
}

/// The position is that of an event, which the history must show there.
pub fn is_event(position: &Position) -> bool {
    position.key.get(8..).is_some_and(|rest| EVENT.iter().any(|e| rest.starts_with(e)))
}

/// A time as people know it.
pub fn time_text(time: u64) -> String {
    let at = chrono::DateTime::from_timestamp((time >> 32) as i64, 0).unwrap_or_default();
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn unknown(token: &str) -> Error {
    Error::new(Kind::Protocol, "a resume token has a form that is not known").with_detail(format!("Token {token}."))
}

/// A token as one text: the digits of `_data`, and after a colon those of `_typeBits`, where it has them. Without them numbers of a key would be taken for
/// other types than they are, and the server would not find the event. (The server's ResumeToken)
pub fn token_text(data: &str, type_bits: Option<&[u8]>) -> String {
    match type_bits {
        None => data.to_string(),
        Some(bits) => format!("{data}:{}", hex::encode(bits)),
    }
}

/// The text of a token that lies in a document's bytes; None: it has no `_data`.
pub fn token_in(token: &[u8]) -> Result<Option<String>> {
    let Some(data) = raw::get(token, "_data")?.and_then(|v| v.as_str()) else { return Ok(None) };
    let bits = raw::get(token, "_typeBits")?.and_then(|v| v.as_binary()).map(|(_, bits)| bits);
    Ok(Some(token_text(data, bits)))
}

/// The token of a text, as the server takes it.
pub fn token_document(text: &str) -> Result<Document> {
    let Some((data, bits)) = text.split_once(':') else { return Ok(doc! { "_data": text }) };
    let bytes = hex::decode(bits).map_err(|e| unknown(text).because(e))?;
    Ok(doc! { "_data": data, "_typeBits": Binary { subtype: BinarySubtype::Generic, bytes } })
}

/// A token as users give it: its digits, with those of its type bits after a colon, or `{"_data": "...", "_typeBits": ...}`.
pub fn token_of(text: &str) -> Result<Place> {
    let text = text.trim();
    let bad = || unknown(text).as_kind(Kind::BadOption);
    let inner = match text.strip_prefix('{') {
        None => text.to_string(),
        Some(_) => {
            let json: serde_json::Value = serde_json::from_str(text).map_err(|e| bad().because(e))?;
            let data = json.get("_data").and_then(|d| d.as_str()).ok_or_else(bad)?;
            let bits = match json.get("_typeBits") {
                None => None,
                Some(bits) => {
                    let binary = bits.get("$binary").unwrap_or(bits);
                    let base64 = binary.get("base64").unwrap_or(binary).as_str().ok_or_else(bad)?;
                    Some(base64::engine::general_purpose::STANDARD.decode(base64).map_err(|e| bad().because(e))?)
                }
            };
            token_text(data, bits.as_deref())
        }
    };
    token_document(&inner).map_err(|e| e.as_kind(Kind::BadOption))?;
    let place = Place::Token(inner);
    place.position().map_err(|e| e.as_kind(Kind::BadOption))?;
    Ok(place)
}

/// The place before everything of a time as users give it: `Timestamp(1700000000, 1)`, `1700000000.1`, seconds, or an ISO time.
pub fn start_of(text: &str) -> Option<Place> {
    let text = text.trim();
    let inner = text.strip_prefix("Timestamp(").and_then(|t| t.strip_suffix(')')).unwrap_or(text);
    let pair = inner.split_once([',', '.']).and_then(|(t, i)| Some((t.trim().parse::<u32>().ok()?, i.trim().parse::<u32>().ok()?)));
    let (seconds, count) = match pair {
        Some(pair) => pair,
        None => match inner.parse::<u32>() {
            Ok(seconds) => (seconds, 0),
            Err(_) => (u32::try_from(chrono::DateTime::parse_from_rfc3339(inner).ok()?.timestamp()).ok()?, 0),
        },
    };
    Some(Place::After((u64::from(seconds) << 32 | u64::from(count)).saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server of version 6.0 gave them: idle at a time, an event of it, the second event of the same transaction, an invalidation.
    const IDLE: &str = "826B01D355000000012B0229296E04";
    const FIRST: &str = "826B01D355000000012B022C0100296E5A1004039728CDC4A445F7A82CDA140CA62DD5461E5F6964002B040004";
    const SECOND: &str = "826B01D355000000012B022C01002B026E5A1004EAAFF0D7078D455780314BD43FCECF70461E5F6964002B040004";
    const LATER: &str = "826B01D355000000042B022C0100296E5A1004EAAFF0D7078D455780314BD43FCECF70461E5F6964002B060004";

    #[test]
    fn tokens_and_times_order_as_the_history_does() {
        let time = 0x6B01_D355_0000_0001;
        let token = |t: &str| Place::Token(t.into()).position().expect("a token");
        let all = [Place::After(time - 1).position().expect("a time"), token(IDLE), token(FIRST), token(SECOND), Place::After(time).position().expect("a time"), token(LATER)];
        assert!(all.windows(2).all(|w| w[1].reached(&w[0]) && !w[0].reached(&w[1])));
        assert_eq!(all.iter().map(is_event).collect::<Vec<_>>(), [false, false, true, true, false, true]);
        for p in &all {
            assert_eq!(Place::of(p).expect("ours").position().expect("again"), *p);
        }
        assert_eq!(time_of(&all[2]), time);
        assert_eq!((read_after(&all[1]), read_after(&all[2])), (time - 1, time));
        assert_eq!((collection_of(&all[2]).as_deref(), collection_of(&all[1])), (Some("039728cdc4a445f7a82cda140ca62dd5"), None));
    }

    #[test]
    fn users_write_tokens_and_times_in_several_ways() {
        assert_eq!(token_of(&format!("{{\"_data\": \"{IDLE}\"}}")).expect("a token"), token_of(IDLE).expect("a token"));
        assert!(token_of("12").is_err() && token_of("{}").is_err());
        let typed = Place::Token(format!("{FIRST}:82c0"));
        assert_eq!(token_of(&format!("{{\"_data\": \"{FIRST}\", \"_typeBits\": {{\"$binary\": {{\"base64\": \"gsA=\", \"subType\": \"00\"}}}}}}")).expect("a token"), typed);
        assert_eq!(token_of(&format!("{FIRST}:82c0")).expect("a token"), typed);
        assert!(token_of(&format!("{FIRST}:8")).is_err());
        assert_eq!(typed.position().expect("a token").key, Place::Token(FIRST.into()).position().expect("a token").key);
        assert_eq!(token_document(&format!("{FIRST}:82c0")).expect("a token").get_binary_generic("_typeBits").expect("bits"), &vec![0x82u8, 0xc0]);
        let at = Some(Place::After((5 << 32 | 3) - 1));
        assert_eq!((start_of("Timestamp(5, 3)"), start_of("5.3"), start_of("five")), (at.clone(), at, None));
        assert_eq!(start_of("1970-01-01T00:00:05Z"), Some(Place::After((5 << 32) - 1)));
    }
}
