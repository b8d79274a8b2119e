//! Collections: typed maps from a key to a record. One line in [`CODECS`] adds one.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Invariant;
use crate::id::{Oid, Uuid, Version};
use crate::record;

/// A named map from keys to records.
pub trait Collection: 'static {
    /// Its name in the store; never changed without an upgrade step.
    const NAME: &'static str;
    type Key: Key;
    type Value: Record;

    /// The name that at most one record of the collection may have, if this record has one (a dropped source has none).
    fn unique_name(_value: &Self::Value) -> Option<String> {
        None
    }
}

/// What a collection holds.
pub trait Record: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static {
    /// Whether the record can be true. Checked at every write and by `standpipe check`.
    fn check(&self) -> Result<(), Invariant>;
}

/// A record and the version of the write that last changed it. Reads like the record itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<V> {
    pub version: Version,
    pub value: V,
}

impl<V> std::ops::Deref for Versioned<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

/// A key as bytes that sort as the key does, so that a part of it (a leading one) can be scanned.
pub trait Key: Sized {
    fn encode(&self) -> Vec<u8>;
    /// `None` when the bytes are no such key.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// A part of a key that has always the same length.
trait Part: Sized {
    const LEN: usize;
    fn put(&self, out: &mut Vec<u8>);
    fn take(bytes: &[u8]) -> Option<Self>;
}

macro_rules! part {
    ($type:ty, $len:expr, |$value:ident| $put:expr, |$bytes:ident| $take:expr) => {
        impl Part for $type {
            const LEN: usize = $len;
            fn put(&self, out: &mut Vec<u8>) {
                let $value = self;
                out.extend_from_slice(&$put);
            }
            fn take(bytes: &[u8]) -> Option<Self> {
                let $bytes = <[u8; $len]>::try_from(bytes).ok()?;
                Some($take)
            }
        }
        impl Key for $type {
            fn encode(&self) -> Vec<u8> {
                let mut out = Vec::with_capacity($len);
                self.put(&mut out);
                out
            }
            fn decode(bytes: &[u8]) -> Option<Self> {
                Self::take(bytes)
            }
        }
    };
}
part!(Uuid, 16, |value| *value.as_bytes(), |bytes| Uuid::from_bytes(bytes));
part!(Oid, 4, |value| value.0.to_be_bytes(), |bytes| Oid(u32::from_be_bytes(bytes)));
part!(u32, 4, |value| value.to_be_bytes(), |bytes| u32::from_be_bytes(bytes));
// The sign bit is turned so that negative numbers sort first.
part!(i64, 8, |value| (*value ^ i64::MIN).to_be_bytes(), |bytes| i64::from_be_bytes(bytes) ^ i64::MIN);

macro_rules! tuple {
    ($($part:ident)+) => {
        #[allow(private_bounds, non_snake_case)]
        impl<$($part: Part),+> Key for ($($part,)+) {
            fn encode(&self) -> Vec<u8> {
                let ($($part,)+) = self;
                let mut out = Vec::with_capacity(0 $(+ <$part as Part>::LEN)+);
                $($part.put(&mut out);)+
                out
            }
            fn decode(bytes: &[u8]) -> Option<Self> {
                let mut rest = bytes;
                $(
                    let (head, tail) = rest.split_at_checked(<$part as Part>::LEN)?;
                    let $part = <$part as Part>::take(head)?;
                    rest = tail;
                )+
                rest.is_empty().then_some(($($part,)+))
            }
        }
    };
}
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);

impl Key for String {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

impl Key for (Oid, String) {
    fn encode(&self) -> Vec<u8> {
        let mut out = self.0.encode();
        out.extend_from_slice(self.1.as_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (oid, text) = bytes.split_at_checked(4)?;
        Some((Oid::decode(oid)?, String::decode(text)?))
    }
}

/// A record behind its type: a `Versioned<V>` of the collection it came from.
pub(crate) type Erased = Arc<dyn Any + Send + Sync>;

/// A record read from text.
pub(crate) struct Decoded {
    pub value: Erased,
    pub unique_name: Option<String>,
}

/// Why a record cannot be used.
pub(crate) enum Refused {
    Unreadable(String),
    Invariant(Invariant),
}

/// What the untyped parts (writer, store, check) need to know of a collection.
pub(crate) struct Codec {
    pub name: &'static str,
    pub decode: fn(Version, &str) -> Result<Decoded, Refused>,
    pub encode: fn(&Erased) -> Option<String>,
    /// A key as a person would write it; `None` when the bytes are no key of the collection.
    pub key: fn(&[u8]) -> Option<String>,
}

const fn codec<C: Collection>() -> Codec
where
    C::Key: Debug,
{
    Codec { name: C::NAME, decode: decode::<C>, encode: encode::<C>, key: key::<C> }
}

fn decode<C: Collection>(version: Version, text: &str) -> Result<Decoded, Refused> {
    let value: C::Value = serde_json::from_str(text).map_err(|e| Refused::Unreadable(e.to_string()))?;
    value.check().map_err(Refused::Invariant)?;
    let unique_name = C::unique_name(&value);
    Ok(Decoded { value: Arc::new(Versioned { version, value }), unique_name })
}

fn encode<C: Collection>(value: &Erased) -> Option<String> {
    let value = value.downcast_ref::<Versioned<C::Value>>()?;
    serde_json::to_string(&value.value).ok()
}

fn key<C: Collection>(bytes: &[u8]) -> Option<String>
where
    C::Key: Debug,
{
    C::Key::decode(bytes).map(|key| format!("{key:?}"))
}

/// Every collection there is. Those that move several times a second stand alone, so that a write copies little.
pub(crate) const CODECS: &[Codec] = &[
    codec::<record::Sources>(),
    codec::<record::Stages>(),
    codec::<record::Tables>(),
    codec::<record::Models>(),
    codec::<record::Pipes>(),
    codec::<record::PipeStatuses>(),
    codec::<record::PipeTables>(),
    codec::<record::Checkpoints>(),
    codec::<record::ChunkLists>(),
    codec::<record::ChunksDone>(),
    codec::<record::Structures>(),
    codec::<record::Runs>(),
    codec::<record::Tasks>(),
    codec::<record::Roles>(),
    codec::<record::Grants>(),
    codec::<record::Settings>(),
    codec::<record::Plugins>(),
    codec::<record::Counters>(),
];

/// The place of a collection in [`CODECS`].
pub(crate) fn index(name: &str) -> Option<usize> {
    CODECS.iter().position(|codec| codec.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_bytes_do_and_come_back() {
        let numbers = [i64::MIN, -5, -1, 0, 1, 7, i64::MAX];
        for pair in numbers.windows(2) {
            assert!(pair[0].encode() < pair[1].encode());
        }
        let key = (Uuid::new_v4(), Uuid::new_v4(), -3i64, 9u32);
        assert_eq!(<(Uuid, Uuid, i64, u32)>::decode(&key.encode()), Some(key));
        assert!(key.encode().starts_with(&(key.0, key.1).encode()));
        assert_eq!(<(Uuid, Uuid)>::decode(&key.encode()), None);
        assert_eq!(Uuid::decode(b"short"), None);
    }

    #[test]
    fn names_of_collections_are_distinct() {
        for (at, codec) in CODECS.iter().enumerate() {
            assert_eq!(index(codec.name), Some(at));
        }
    }
}
